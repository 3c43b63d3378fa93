"""Every answer begins in time: a part that hangs, rather than being gone, would otherwise hold its callers for as long
as it takes each layer to give up on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from marketing_service.api.problems import problem_of
from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = 4.0

log = structlog.get_logger(__name__)


class Deadline:
    """Answers 503 when the answer has not begun so many seconds after the request was last heard from.

    The work goes on, because breaking off a statement on a server that hangs takes as long as waiting for it; what
    it would still say is dropped.
    """

    def __init__(self, app: ASGIApp, seconds: float = SECONDS) -> None:
        self._app = app
        self._seconds = seconds
        # The event loop itself holds tasks only weakly.
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
        detail = f"This took longer than {self._seconds:g} seconds. It may still be done: look before you repeat it."
        await problem_of(Unavailable("The service", detail), scope)(scope, receive, send)

    def _ended(self, work: asyncio.Task[None]) -> None:
        self._late.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.warning("late_request_failed", error=f"{type(error).__name__}: {error}")


class _Call:
    """One request, and whether its answer has begun."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._in_time: asyncio.Future[bool] = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._look)

    async def in_time(self) -> bool:
        """Returns as soon as the answer begins (or the work ends without one), and at the deadline otherwise."""
        try:
            return await self._in_time
        finally:
            self._timer.cancel()

    def settle(self, _: object = None) -> None:
        if not self._in_time.done():
            self._in_time.set_result(True)

    def _look(self) -> None:
        """A body that is still being sent moves the deadline."""
        if self._in_time.done():
            return
        left = self._heard + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._in_time.set_result(False)

    async def receive(self) -> Message:
        message = await self._receive()
        self._heard = self._loop.time()
        return message

    async def send(self, message: Message) -> None:
        self.settle()
        if self._in_time.result():
            await self._send(message)
