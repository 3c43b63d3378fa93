"""The transport, once aiosmtplib has connected, negotiated TLS and logged in: octets out, replies in."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.replies import Reply, closes

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 5321 §4.5.3.1.5 allows 512 octets a line; some relays take more, none needs this.
_MAX_LINE = 8_192
_MAX_LINES = 100
_GOODBYE_SECONDS = 5.0
# RFC 5321 §4.2: a code, then a hyphen where more lines follow; some leave out the space where there is no text.
_LINE = re.compile(rb"([2-5]\d\d)(?:(-)|[ \r]|$)")
# How nearly every reply's only line begins.
_ONLY_LINE = {b"%d " % code: code for code in range(200, 600)}


class WireBroken(Exception):
    """No further reply will come. The text says why; it holds nothing the relay said."""


class WireTimeout(WireBroken):
    """The reply, or room to write, did not come in time."""


class Answer(NamedTuple):
    """A reply as it came, cheap to make: most are only asked for their code."""

    code: int
    lines: list[bytes]

    @property
    def positive(self) -> bool:
        return self.code // 100 == 2  # noqa: PLR2004 - RFC 5321 §4.2.1: positive completion

    @property
    def negative(self) -> bool:
        return self.code // 100 in (4, 5)

    @property
    def closing(self) -> bool:
        """Whether no reply follows it, whatever else was asked."""
        return self.negative and closes(self.reply())

    def reply(self) -> Reply:
        return Reply.of(self.code, "\n".join(line.decode("utf-8", "replace") for line in self.lines))


class Wire(asyncio.Protocol):
    """Pairs replies with commands. One task at a time writes to it and reads from it.

    It counts the replies that are owed: a relay that speaks unasked, or that sends what is no reply, has lost its
    place in the conversation, and the wire is broken.
    """

    def __init__(self, transport: asyncio.Transport, on_closed: Callable[[], None]) -> None:
        self._transport = transport
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._lines: list[bytes] = []
        self._answers: deque[Answer] = deque()
        self._owed = 0
        self._broken: str | None = None
        self._paused = False
        self._goodbye: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._missed = "", 0.0
        """What does not come by then, and how long it is waited for."""
        self._alarm: asyncio.TimerHandle | None = None
        """One for all waits: it looks whether the deadline has passed, and if not, sleeps on."""
        self.heard_at = self._loop.time()
        """When the relay last said something, by the event loop's clock."""
        transport.set_protocol(self)

    # ── for the conversation ──

    @property
    def broken(self) -> str | None:
        """Why no further reply will come; None while one may."""
        if self._broken is None and self._transport.is_closing():
            return "the connection is closed"
        return self._broken

    @property
    def is_answered(self) -> bool:
        """Whether a reply is there that was not yet read, be the wire broken since or not."""
        return bool(self._answers)

    def write(self, octets: bytes, replies: int) -> None:
        """Send; so many replies are then owed. Raises WireBroken, and has then sent nothing."""
        if self.broken is not None:
            raise WireBroken(self.broken)
        self._owed += replies
        self._transport.write(octets)

    async def drained(self, seconds: float) -> None:
        """Wait until there is room to write more. Raises WireBroken or WireTimeout (after so many seconds)."""
        while self._paused and self._broken is None:
            await self._wake(seconds, "the relay reads nothing")
        if self.broken is not None:
            raise WireBroken(self.broken)

    async def answer(self, seconds: float) -> Answer:
        """The next reply. Raises WireBroken or WireTimeout (after so many seconds)."""
        while not self._answers:
            if self._broken is not None:
                raise WireBroken(self._broken)
            await self._wake(seconds, "no reply")
        return self._answers.popleft()

    def early_answer(self) -> Answer | None:
        """What the relay said before it was asked, if that is why the wire broke."""
        return self._answers.popleft() if self._answers else None

    def abort(self) -> None:
        """Close at once. What is not yet sent is dropped."""
        self._break("the connection was given up")
        self._answers.clear()
        self._transport.abort()

    def leave(self) -> None:
        """Say QUIT and close once it is answered (RFC 5321 §4.1.1.10), or after some seconds; does not wait."""
        if self.broken is not None:
            self._transport.abort()
            return
        self._break("the connection is closed")
        self._transport.write(b"QUIT\r\n")
        self._goodbye = self._loop.call_later(_GOODBYE_SECONDS, self._transport.abort)

    # ── for the transport ──

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            if self._goodbye is not None and not self._transport.is_closing():
                self._transport.close()
            return
        self.heard_at = self._loop.time()
        data = self._buffer + data
        *lines, self._buffer = data.split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._buffer) > _MAX_LINE:
            self._garbage()
        if self._answers:
            self._alert()

    def eof_received(self) -> bool:
        self._break("the relay hung up")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._break("the relay hung up" if exc is None else f"the connection was lost ({type(exc).__name__})")
        for timer in (self._goodbye, self._alarm):
            if timer is not None:
                timer.cancel()
        self._on_closed()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._alert()

    # ── inside ──

    def _line(self, line: bytes) -> None:
        if self._broken is not None:
            return
        code = _ONLY_LINE.get(line[:4])
        if code is not None and not self._lines and len(line) <= _MAX_LINE:
            self._reply(Answer(code, [line[4:].rstrip()]))
            return
        found = _LINE.match(line)
        if found is None or len(self._lines) > _MAX_LINES or len(line) > _MAX_LINE:
            self._garbage()
            return
        self._lines.append(line[4:].rstrip())
        if found.group(2):
            return
        self._reply(Answer(int(found.group(1)), self._lines))
        self._lines = []

    def _reply(self, answer: Answer) -> None:
        self._answers.append(answer)
        self._owed -= 1
        if self._owed < 0:
            self._break("the relay spoke unasked")

    def _garbage(self) -> None:
        self._break("the relay sent what is no SMTP reply")
        self._transport.abort()

    def _break(self, why: str) -> None:
        if self._broken is None:
            self._broken = why
        self._alert()

    def _alert(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wake(self, seconds: float, otherwise: str) -> None:
        """Wait for anything to change."""
        self._waiter = waiter = self._loop.create_future()
        self._deadline = self._loop.time() + seconds
        self._missed = otherwise, seconds
        if self._alarm is not None and self._alarm.when() > self._deadline:
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._deadline, self._ring)
        try:
            await waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._alarm = None
        if self._waiter is None or self._waiter.done():
            return  # whoever waits next sets it anew
        if self._loop.time() < self._deadline:
            self._alarm = self._loop.call_at(self._deadline, self._ring)
        else:
            what, seconds = self._missed
            self._waiter.set_exception(WireTimeout(f"{what} within {seconds:g} s"))
