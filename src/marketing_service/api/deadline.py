"""Every response starts in time. A server that hangs (it accepts connections and does not reply) would otherwise delay
the caller by the sum of the timeouts of all layers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from marketing_service.api.body_limits import MAX_BODY
from marketing_service.api.problems import problem_of
from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = 4.0
"""The longest time from the last part of the request to the start of the response."""
_SECONDS_PER_OCTET = 1e-6
"""More time for each octet over MAX_BODY: reading a file of 30 MB takes a busy machine some seconds."""

log = structlog.get_logger(__name__)


class DeadlineMiddleware:
    """Sends a 503 if the response has not started `seconds` after the last part of the request arrived. A body over
    MAX_BODY gets more time.

    The work continues, because cancelling a statement on a server that hangs takes as long as waiting for it. Its
    response is dropped.
    """

    def __init__(self, app: ASGIApp, seconds: float = SECONDS) -> None:
        self._app = app
        self._seconds = seconds
        # The event loop keeps only weak references to tasks.
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(receive, send, self._seconds)
        work = asyncio.ensure_future(self._app(scope, call.receive, call.send))
        work.add_done_callback(call.settle)
        try:
            if await call.in_time():
                await work
                return
        except asyncio.CancelledError:
            work.cancel()
            raise
        self._late.add(work)
        work.add_done_callback(self._ended)
        detail = f"This took longer than {self._seconds:g} seconds. It may still finish: check before you repeat it."
        await problem_of(Unavailable("The service", detail), scope)(scope, receive, send)

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._late.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.warning("late_request_failed", error=f"{type(error).__name__}: {error}")


class _Call:
    """One request, and whether its response has started."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last_received = self._loop.time()
        self._octets = 0
        self._in_time: asyncio.Future[bool] = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._check)

    async def in_time(self) -> bool:
        """True as soon as the response starts (or the work ends without one); False at the deadline."""
        try:
            return await self._in_time
        finally:
            self._timer.cancel()

    def settle(self, _: object = None) -> None:
        if not self._in_time.done():
            self._in_time.set_result(True)

    def _check(self) -> None:
        """Ends the wait, or sets the timer again if a part of the body arrived since."""
        if self._in_time.done():
            return
        seconds = self._seconds + max(0, self._octets - MAX_BODY) * _SECONDS_PER_OCTET
        left = self._last_received + seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._in_time.set_result(False)

    async def receive(self) -> Message:
        message = await self._receive()
        self._last_received = self._loop.time()
        self._octets += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        self.settle()
        if self._in_time.result():
            await self._send(message)
