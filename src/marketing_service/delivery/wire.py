"""The transport of an open connection: it writes octets and reads SMTP replies.

aiosmtplib has connected, negotiated TLS and logged in before (see `opening`).
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.replies import Reply, closes_connection

if TYPE_CHECKING:
    from collections.abc import Callable

# RFC 5321 §4.5.3.1.5 allows 512 octets a line. Some relays send more, but none needs this much.
_MAX_LINE = 8_192
_MAX_LINES = 100
# RFC 5321 §4.2: a code, then a hyphen if more lines follow. Some relays omit the space if there is no text.
_LINE = re.compile(rb"([2-5]\d\d)(?:(-)|[ \r]|$)")
# The first four octets of a reply of one line. Nearly all replies have one line, and this lookup is fast.
_ONLY_LINE = {b"%d " % code: code for code in range(200, 600)}


# Linux has it; elsewhere the delay is what the system decides.
_QUICK_ACK = getattr(socket, "TCP_QUICKACK", None)


class WireBroken(Exception):
    """No further reply will come. The text says why, and never contains text of the relay."""


class WireTimeout(WireBroken):
    """A reply, or room in the write buffer, did not come in time."""


class RawReply(NamedTuple):
    """A reply as it was received. It is cheap to make, because most callers need only the code."""

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
        """Whether the relay sends no reply after this one, even to commands it has received."""
        return self.negative and closes_connection(self.reply())

    def reply(self) -> Reply:
        """The reply with its text decoded."""
        return Reply.of(self.code, "\n".join(line.decode("utf-8", "replace") for line in self.lines))


class Wire(asyncio.Protocol):
    """Matches replies to commands. One task at a time may write to it and read from it.

    The wire counts the replies that are still expected. A reply that no command asked for, or data that is not a reply,
    means that replies no longer match commands: the wire is broken then.
    """

    def __init__(self, transport: asyncio.Transport, on_closed: Callable[[], None], *, quit_timeout: float) -> None:
        self._transport = transport
        self._on_closed = on_closed
        self._quit_timeout = quit_timeout
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._lines: list[bytes] = []
        self._replies: deque[RawReply] = deque()
        self._expected = 0
        self._broken: str | None = None
        self._paused = False
        self._quit_timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._missing = "", 0.0
        """What the waiter waits for, and its time limit in seconds: the text of a WireTimeout."""
        self._timer: asyncio.TimerHandle | None = None
        """One timer for all waits. When it fires before the deadline, it is set again."""
        self.last_received_at = self._loop.time()
        """When the relay last sent something, by the event loop's clock."""
        self._socket = _duplicate_socket(transport)
        transport.set_protocol(self)

    # ── used by the connection ──

    @property
    def broken(self) -> str | None:
        """Why no further reply will come; None while replies are possible."""
        if self._broken is None and self._transport.is_closing():
            return "the connection is closed"
        return self._broken

    @property
    def has_reply(self) -> bool:
        """Whether a received reply has not been read yet. It can be read even if the wire broke after it."""
        return bool(self._replies)

    def write(self, octets: bytes, replies: int) -> None:
        """Send the octets and expect this many more replies. Raises WireBroken, and has sent nothing in that case."""
        if self.broken is not None:
            raise WireBroken(self.broken)
        self._expected += replies
        self._transport.write(octets)

    async def drained(self, seconds: float) -> None:
        """Wait until the write buffer has room. Raises WireBroken, or WireTimeout after `seconds`."""
        while self._paused and self._broken is None:
            await self._wait(seconds, "the relay reads nothing")
        if self.broken is not None:
            raise WireBroken(self.broken)

    async def read_reply(self, seconds: float) -> RawReply:
        """The next reply. Raises WireBroken, or WireTimeout after `seconds`."""
        while not self._replies:
            if self._broken is not None:
                raise WireBroken(self._broken)
            await self._wait(seconds, "no reply")
        return self._replies.popleft()

    def early_reply(self) -> RawReply | None:
        """A reply that the relay sent before it was expected, if that broke the wire."""
        return self._replies.popleft() if self._replies else None

    def abort(self) -> None:
        """Close at once. Unsent data is dropped."""
        self._break("the connection was aborted")
        self._replies.clear()
        self._transport.abort()

    def quit(self) -> None:
        """Send QUIT (RFC 5321 §4.1.1.10) and return. The transport closes on the reply, or after the QUIT timeout."""
        if self.broken is not None:
            self._transport.abort()
            return
        self._break("the connection is closed")
        self._transport.write(b"QUIT\r\n")
        self._quit_timer = self._loop.call_later(self._quit_timeout, self._transport.abort)

    # ── called by the transport ──

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            if self._quit_timer is not None and not self._transport.is_closing():
                self._transport.close()
            return
        self.last_received_at = self._loop.time()
        data = self._buffer + data
        *lines, self._buffer = data.split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._buffer) > _MAX_LINE:
            self._malformed()
        if self._expected > 0:
            self._acknowledge()
        if self._replies:
            self._notify()

    def eof_received(self) -> bool:
        self._break("the relay closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._break(
            "the relay closed the connection" if exc is None else f"the connection was lost ({type(exc).__name__})"
        )
        for timer in (self._quit_timer, self._timer):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._on_closed()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._notify()

    # ── internal ──

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge now what was received.

        A relay that does not set TCP_NODELAY sends a small reply only when the one before it is acknowledged (Nagle's
        algorithm, RFC 896). Linux delays an acknowledgement by 40 ms when it has nothing to send (RFC 1122 §4.2.3.2).
        The option does not last, so it is set again after each read (tcp(7)).
        """
        if self._socket is not None and _QUICK_ACK is not None:
            with suppress(OSError):  # the connection is ending, which the transport says
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _line(self, line: bytes) -> None:
        if self._broken is not None:
            return
        code = _ONLY_LINE.get(line[:4])
        if code is not None and not self._lines and len(line) <= _MAX_LINE:
            self._add(RawReply(code, [line[4:].rstrip()]))
            return
        found = _LINE.match(line)
        if found is None or len(self._lines) > _MAX_LINES or len(line) > _MAX_LINE:
            self._malformed()
            return
        self._lines.append(line[4:].rstrip())
        if found.group(2):
            return
        self._add(RawReply(int(found.group(1)), self._lines))
        self._lines = []

    def _add(self, reply: RawReply) -> None:
        self._replies.append(reply)
        self._expected -= 1
        if self._expected < 0:
            self._break("the relay sent a reply that was not expected")

    def _malformed(self) -> None:
        self._break("the relay sent data that is not an SMTP reply")
        self._transport.abort()

    def _break(self, why: str) -> None:
        if self._broken is None:
            self._broken = why
        self._notify()

    def _notify(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float, missing: str) -> None:
        """Wait until the state changes. Raises WireTimeout, which names what is missing, after `seconds`."""
        self._waiter = waiter = self._loop.create_future()
        self._deadline = self._loop.time() + seconds
        self._missing = missing, seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        try:
            await waiter
        finally:
            self._waiter = None

    def _check_deadline(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return  # the next call of `_wait` sets a new timer
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        else:
            missing, seconds = self._missing
            self._waiter.set_exception(WireTimeout(f"{missing} within {seconds:g} s"))


def _duplicate_socket(transport: asyncio.Transport) -> socket.socket | None:
    """Another handle of the transport's socket: options are set through it four times as fast as through uvloop's. None
    if the transport has no TCP socket."""
    original = transport.get_extra_info("socket")
    if original is None or original.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return socket.socket(fileno=os.dup(original.fileno()))
