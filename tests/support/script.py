"""The behaviours that a test sets on the relay of `tests.support.relay`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Step(StrEnum):
    """The point at which the relay is about to reply. BODY: the first octets of a message have arrived; DOT: its final
    dot has arrived."""

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
    """The state of a conversation: the argument of `when` and `call`."""

    connection: int
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    recipient: str = ""
    """The recipient of the last RCPT, accepted or not."""
    content: bytes = b""
    """At DOT: the message, with dot-stuffing removed."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do instead of the usual reply. The functions below make one."""

    reply: bytes | None = None
    is_reply: bool = True
    gap: float | None = None
    hang_up: bool = False
    reset: bool = False
    silent: bool = False
    accepting: bool = False
    seconds: float | None = None
    gate: asyncio.Event | None = None
    call: Callable[[Now], object] | None = None
    then: Behaviour | None = None

    @property
    def mute(self) -> bool:
        return self.silent or self.hang_up


ORDINARY = Behaviour()


def answer(code: int, text: str = "", *, gap: float | None = None, then: Behaviour | None = None) -> Behaviour:
    r"""Send this reply, then apply `then`. `\n` separates the lines of the reply.

    With a gap, each octet is sent separately, `gap` seconds after the one before it.
    """
    lines = text.split("\n")
    wire = "".join(f"{code}{' ' if n == len(lines) else '-'}{line}\r\n" for n, line in enumerate(lines, 1))
    return Behaviour(reply=wire.encode(), gap=gap, then=then)


def raw(octets: bytes, then: Behaviour | None = None) -> Behaviour:
    """Send these octets. The relay does not treat them as a reply: its state does not change."""
    return Behaviour(reply=octets, is_reply=False, then=then)


def hang_up(*, accepting: bool = False, reset: bool = False) -> Behaviour:
    """Close without a reply; `reset` sends a TCP RST. At DOT, `accepting` enters the message in the ledger first."""
    return Behaviour(hang_up=True, accepting=accepting, reset=reset)


def silence(*, accepting: bool = False) -> Behaviour:
    """Never reply again on this connection. At DOT, `accepting` enters the message in the ledger first."""
    return Behaviour(silent=True, accepting=accepting)


def delay(seconds: float, then: Behaviour = ORDINARY) -> Behaviour:
    """Wait, then apply `then`; by default the usual reply."""
    return Behaviour(seconds=seconds, then=then)


def wait_for(gate: asyncio.Event, then: Behaviour = ORDINARY) -> Behaviour:
    """Wait until the test sets the event, then apply `then`; by default the usual reply."""
    return Behaviour(gate=gate, then=then)


def call(function: Callable[[Now], object], then: Behaviour = ORDINARY) -> Behaviour:
    """Call `function` before the reply, then apply `then`; by default the usual reply."""
    return Behaviour(call=function, then=then)


@dataclass(slots=True)
class Rule:
    """A behaviour, and the conditions under which it applies."""

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
