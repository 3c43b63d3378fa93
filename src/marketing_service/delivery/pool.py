"""The pool of connections to the relay."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from marketing_service.delivery.address import Encryption
from marketing_service.delivery.backoff import Backoff
from marketing_service.delivery.connection import SmtpConnection
from marketing_service.delivery.opening import Opening
from marketing_service.delivery.wire import Wire
from marketing_service.ports import RelayDown
from marketing_service.replies import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.delivery.address import RelayAddress

log = structlog.get_logger(__name__)

# A connection that has rested longer is asked whether it still lives; firewalls forget without a word.
_TRUSTED_SECONDS = 5.0


class SmtpMailer:
    """At most `connections` to the relay, open while they are of use; borrowers are served in the order they came.

    A connection is closed after `messages_per_connection`, or when nobody wanted it for `idle_seconds`. Where the
    relay is down, borrowers are told at once (RelayDown) until it is tried again: after half a second, then twice
    that, up to half a minute. While others are open or being opened, one connection that could not be had is no
    reason to call the relay down: many relays allow fewer than they are asked for. Its borrower then waits for one of
    the others, until `timeout` after it tried.

    `timeout` limits connecting as a whole, each command, and each piece of a message; `data_timeout` the wait for
    the reply to a final dot (RFC 5321 §4.5.3.2.6: ten minutes). All durations are in seconds.
    """

    def __init__(
        self,
        address: RelayAddress,
        *,
        connections: int,
        messages_per_connection: int,
        idle_seconds: float,
        timeout: float,
        data_timeout: float,
        hello_name: str,
    ) -> None:
        """Opens nothing yet; raises SettingsError where the address names a certificate file that cannot be used."""
        self._address = address
        self._tls_context = None if address.encryption is Encryption.NONE else address.tls_context()
        self._most = connections
        self._messages = messages_per_connection
        self._idle_seconds = idle_seconds
        self._timeout = timeout
        self._data_timeout = data_timeout
        self._hello_name = hello_name

        self._taken = 0
        """Places in use: connections open, being opened, or saying goodbye."""
        self._open: set[SmtpConnection] = set()
        self._idle: dict[SmtpConnection, asyncio.TimerHandle] = {}
        """Those that rest, and what ends that; the one used last comes last."""
        self._waiting: deque[asyncio.Future[SmtpConnection | None]] = deque()
        """Who waits for a connection, or for a place to open one in (None)."""
        self._backoff = Backoff()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()

    # ── for everybody ──

    @property
    def connections_open(self) -> int:
        return len(self._open)

    @property
    def is_waited_for(self) -> bool:
        return any(not waiter.done() for waiter in self._waiting)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SmtpConnection]:
        """Borrow a connection, waiting for a free one. Raises RelayDown.

        One given back in the middle of something (an envelope announced as following, and never handed over) is
        closed, which by RFC 5321 §3.8 undoes what it had begun.
        """
        connection = await self._borrow()
        try:
            yield connection
        finally:
            self._give_back(connection)

    async def probe(self) -> None:
        """Open a connection, whatever the pool holds, and close it again. Raises RelayDown.

        Success ends the pool's own waiting.
        """
        self._taken += 1
        connection = await self._new()
        connection.leave()
        self._serve()

    async def close(self) -> None:
        """QUIT what rests, close what is in use, and wait until all of it is gone (some seconds at most)."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        for connection in list(self._open):
            if self._wake(connection):
                connection.leave()
            else:
                connection.abort()
        self._serve()
        while self._open:
            self._emptied.clear()
            await self._emptied.wait()

    # ── borrowing ──

    async def _borrow(self) -> SmtpConnection:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._turn()
            except TimeoutError:
                raise self._backoff.down() from None
            if connection is not None:
                if await self._still_good(connection):
                    return connection
                continue
            if deadline is None:
                deadline = loop.time() + self._timeout
            try:
                return await self._new()
            except RelayDown:
                if not self._taken or loop.time() >= deadline:
                    raise

    async def _turn(self) -> SmtpConnection | None:
        """Wait in line for a resting connection, or for a place (None), which is then taken."""
        waiter: asyncio.Future[SmtpConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                connection = waiter.result()
                if connection is None:
                    self._taken -= 1
                    self._serve()
                else:
                    self._give_back(connection)
            raise

    def _serve(self) -> None:
        """Give what there is to those who wait, first come, first served."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.done() and not self._serve_one(waiter):
                return
            self._waiting.popleft()

    def _serve_one(self, waiter: asyncio.Future[SmtpConnection | None]) -> bool:
        """Whether there was an answer for this one; if not, `_serve` is called again when there may be."""
        pause = self._backoff.remaining(asyncio.get_running_loop().time())
        if self._closed:
            waiter.set_exception(RelayDown(Phase.CONNECT, "the pool of connections is closed"))
        elif self._idle:
            connection = next(reversed(self._idle))
            self._wake(connection)
            waiter.set_result(connection)
        elif pause and (self._taken or (self._backoff.is_dismissal and pause <= self._timeout)):
            self._serve_in(pause)
            return False
        elif pause:
            waiter.set_exception(self._backoff.down())
        elif self._taken < self._most:
            self._taken += 1
            waiter.set_result(None)
        else:
            return False
        return True

    def _serve_in(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._serve)

    async def _still_good(self, connection: SmtpConnection) -> bool:
        rested = asyncio.get_running_loop().time() - connection.heard_at
        if not connection.usable:
            connection.abort()
            return False
        return rested < _TRUSTED_SECONDS or await connection.alive(min(self._timeout, _TRUSTED_SECONDS))

    # ── opening ──

    async def _new(self) -> SmtpConnection:
        """Open a connection in a place that is taken. Raises RelayDown, and has then given the place back."""
        loop = asyncio.get_running_loop()
        tried_at = loop.time()
        try:
            opened = await Opening(
                self._address, self._tls_context, seconds=self._timeout, hello_name=self._hello_name
            ).run()
        except BaseException as error:
            if isinstance(error, RelayDown):
                self._backoff.refused(error, tried_at=tried_at, now=loop.time())
                log.info("relay_down", phase=error.phase.value, detail=error.detail)
            self._taken -= 1
            self._serve()
            raise
        self._backoff.opened(tried_at=tried_at)
        connection = SmtpConnection(
            Wire(opened.transport, lambda: self._gone(connection)),
            opened.extensions,
            messages=self._messages,
            seconds=self._timeout,
            data_seconds=self._data_timeout,
        )
        self._open.add(connection)
        if self._closed:
            connection.abort()
            raise RelayDown(Phase.CONNECT, "the pool of connections is closed")
        return connection

    # ── giving back ──

    def _give_back(self, connection: SmtpConnection) -> None:
        loop = asyncio.get_running_loop()
        if connection.dismissal is not None:
            self._backoff.dismissed(connection.dismissal, useful=connection.accepted > 0, now=loop.time())
        if self._closed or not (connection.usable and connection.between_messages):
            connection.leave()
        else:
            self._idle[connection] = loop.call_later(self._idle_seconds, self._rested_enough, connection)
        self._serve()

    def _rested_enough(self, connection: SmtpConnection) -> None:
        del self._idle[connection]
        connection.leave()

    def _wake(self, connection: SmtpConnection) -> bool:
        """Whether it was resting; it then is no longer."""
        timer = self._idle.pop(connection, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _gone(self, connection: SmtpConnection) -> None:
        """The transport is closed: its place is free."""
        self._wake(connection)
        self._open.discard(connection)
        self._taken -= 1
        self._emptied.set()
        self._serve()
