"""How the relay of `tests.support.relay` is told to misbehave."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Step(StrEnum):
    """Where the relay is about to answer. BODY: the first octets of a message; DOT: its final dot has come."""

    BANNER = "BANNER"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "BODY"
    DOT = "DOT"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"


@dataclass(slots=True)
class Now:
    """Where a conversation stands, as `when` and `call` see it."""

    connection: int
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    recipient: str = ""
    """The recipient last named, accepted or not."""
    content: bytes = b""
    """At DOT: the message, dots undoubled."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do instead of the ordinary; made by the functions below."""

    reply: bytes | None = None
    is_reply: bool = True
    gap: float | None = None
    hang_up: bool = False
    reset: bool = False
    silent: bool = False
    accepting: bool = False
    seconds: float | None = None
    call: Callable[[Now], object] | None = None
    then: Behaviour | None = None

    @property
    def mute(self) -> bool:
        return self.silent or self.hang_up


ORDINARY = Behaviour()


def answer(code: int, text: str = "", *, gap: float | None = None, then: Behaviour | None = None) -> Behaviour:
    r"""This reply, then what `then` says; lines are told apart by `\n`.

    With a gap, octet by octet, so many seconds apart.
    """
    lines = text.split("\n")
    wire = "".join(f"{code}{' ' if n == len(lines) else '-'}{line}\r\n" for n, line in enumerate(lines, 1))
    return Behaviour(reply=wire.encode(), gap=gap, then=then)


def raw(octets: bytes, then: Behaviour | None = None) -> Behaviour:
    """These octets, which are no reply, whatever they look like; nothing follows from them for the relay."""
    return Behaviour(reply=octets, is_reply=False, then=then)


def hang_up(*, accepting: bool = False, reset: bool = False) -> Behaviour:
    """Close without a reply; `reset` is a TCP RST. At DOT, `accepting` enters the message in the ledger first."""
    return Behaviour(hang_up=True, accepting=accepting, reset=reset)


def silence(*, accepting: bool = False) -> Behaviour:
    """Never answer again on this connection. At DOT, `accepting` enters the message in the ledger first."""
    return Behaviour(silent=True, accepting=accepting)


def delay(seconds: float, then: Behaviour = ORDINARY) -> Behaviour:
    """Wait; then do as told, or the ordinary."""
    return Behaviour(seconds=seconds, then=then)


def call(function: Callable[[Now], object], then: Behaviour = ORDINARY) -> Behaviour:
    """Call back before the answer; then do as told, or the ordinary."""
    return Behaviour(call=function, then=then)


@dataclass(slots=True)
class Rule:
    """A behaviour, and when it is due."""

    behaviour: Behaviour
    when: Callable[[Now], bool] | None = None
    nth: int | None = None
    every: int | None = None
    times: int | None = None
    seen: int = 0

    def fits(self, now: Now) -> bool:
        if self.when is not None and not self.when(now):
            return False
        self.seen += 1
        return (
            (self.nth is None or self.seen == self.nth)
            and (self.every is None or self.seen % self.every == 0)
            and (self.times is None or self.seen <= self.times)
        )
