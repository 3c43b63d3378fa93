"""The pool of connections to the relay."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.delivery.address import Encryption
from marketing_service.delivery.backoff import RELAY_BACKOFF, RelayBackoff
from marketing_service.delivery.connection import SmtpConnection
from marketing_service.delivery.opening import ConnectionAttempt
from marketing_service.delivery.wire import Wire
from marketing_service.logs import LogThrottle
from marketing_service.ports import RelayDown, SizeLimit
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.replies import Phase, closes_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.backoff import ExponentialBackoff
    from marketing_service.delivery.address import RelayAddress
    from marketing_service.replies import Reply

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolTimings:
    """Durations, in seconds, that no setting changes."""

    backoff: ExponentialBackoff = RELAY_BACKOFF
    """Between attempts to connect while the relay is down."""
    idle_check: float = 5.0
    """A connection that was idle for longer is checked with NOOP: a firewall may have dropped it without a packet. The
    reply to the NOOP may take as long."""
    quit_timeout: float = 5.0
    """How long the reply to QUIT may take before the connection is closed without it."""
    size_limit_age: float = 10.0
    """How long the size limit that the relay announced on its last connection is used without asking again."""


DEFAULT_TIMINGS = PoolTimings()


class SmtpMailer:
    """A pool of at most `connections`. Borrowers are served in the order in which they asked.

    A connection is closed after `messages_per_connection` messages, or after it was idle for `idle_seconds`.

    If the relay is down, borrowers get RelayDown at once until the back-off is over: half a second, then twice as long
    each time, up to 30 seconds. A failed attempt does not count as "down" while other connections are open or being
    opened, because many relays allow fewer connections than this pool tries to open. The borrower then waits for one of
    the others, until `timeout` after its attempt. The pool then opens no more connections than the relay allowed, and
    tries one more from time to time (see RelayCapacity).

    While no attempt has succeeded since the last failure, only one connection is opened at a time: a relay that refuses
    the log-in sees one log-in, not one for each connection.

    `timeout` limits the opening of a connection as a whole, each command, and each chunk of a message. `data_timeout`
    limits the wait for the reply to a final dot (RFC 5321 §4.5.3.2.6: ten minutes). All durations are in seconds.
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
        timings: PoolTimings = DEFAULT_TIMINGS,
    ) -> None:
        """Opens no connection. Raises SettingsError if the address names a certificate file that cannot be used."""
        self._address = address
        self._tls_context = None if address.encryption is Encryption.NONE else address.tls_context()
        self.capacity = RelayCapacity(connections, clock=lambda: asyncio.get_running_loop().time())
        self._messages = messages_per_connection
        self._idle_seconds = idle_seconds
        self._timeout = timeout
        self._data_timeout = data_timeout
        self._hello_name = hello_name
        self._timings = timings

        self._slots_used = 0
        """Connections that are open, being opened, or waiting for the reply to QUIT."""
        self._open: dict[SmtpConnection, None] = {}
        """Open connections, in the order in which they were opened."""
        self._quitting: set[SmtpConnection] = set()
        """Open connections that wait for the reply to QUIT."""
        self._idle: dict[SmtpConnection, asyncio.TimerHandle] = {}
        """Idle connections and the timers that close them; the one used last is last."""
        self._waiting: deque[asyncio.Future[SmtpConnection | None]] = deque()
        """Borrowers that wait for an idle connection, or for a slot to open one in (None)."""
        self._backoff = RelayBackoff(timings.backoff)
        self._opening = 0
        """Attempts to open a connection that are under way."""
        self._last_attempt_succeeded = False
        self._size_limit: SizeLimit | None = None
        self._size_limit_at = 0.0
        self._asking_for_size = asyncio.Lock()
        self._log_throttle = LogThrottle()
        self._serve_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._connection_closed = asyncio.Event()

    # ── public ──

    @property
    def connections_open(self) -> int:
        return len(self._open)

    @property
    def is_waited_for(self) -> bool:
        # Asked several times for each message: nearly always nothing waits, and nothing is in excess.
        return (bool(self._waiting) and any(not waiter.done() for waiter in self._waiting)) or self._has_excess

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SmtpConnection]:
        """Borrow a connection, waiting for a free one. Raises RelayDown.

        A connection that is returned with an open transaction (an envelope that was announced and never submitted) is
        closed, and the relay then discards the transaction (RFC 5321 §3.8).
        """
        connection = await self._borrow()
        try:
            yield connection
        finally:
            self._return(connection)

    async def probe(self, sender: str | None = None) -> Reply | None:
        """See Mailer. A new connection is opened even if idle ones exist. A success ends the back-off."""
        self._reserve_slot()
        connection = await self._new()
        try:
            return None if sender is None else await connection.try_sender(sender)
        finally:
            self._quit(connection)
            self._serve()

    async def message_size_limit(self) -> SizeLimit:
        """See Mailer. Several callers at the same time share one connection."""
        async with self._asking_for_size:
            age = asyncio.get_running_loop().time() - self._size_limit_at
            if self._size_limit is None or age > self._timings.size_limit_age:
                await self.probe()
            return self._size_limit or SizeLimit(None, eight_bit=False)

    async def close(self) -> None:
        """Close idle connections with QUIT and the others at once. Returns when all are closed, after some seconds at
        most."""
        self._closed = True
        if self._serve_timer is not None:
            self._serve_timer.cancel()
        for connection in list(self._open):
            if connection in self._idle:
                self._close_idle(connection)
            else:
                connection.abort()
        self._serve()
        while self._open:
            self._connection_closed.clear()
            await self._connection_closed.wait()

    # ── borrowing ──

    async def _borrow(self) -> SmtpConnection:
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._wait_in_queue()
            except TimeoutError:
                raise self._backoff.last_failure() from None
            if connection is not None:
                if await self._is_alive(connection):
                    return connection
                continue
            if deadline is None:
                deadline = loop.time() + self._timeout
            try:
                return await self._new()
            except RelayDown as down:
                may_succeed_soon = self._slots_used or _asks_to_wait(down)
                if not may_succeed_soon or loop.time() >= deadline:
                    raise

    async def _wait_in_queue(self) -> SmtpConnection | None:
        """Wait for an idle connection, or for a slot (None), which is counted as used from then on."""
        waiter: asyncio.Future[SmtpConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                connection = waiter.result()
                if connection is None:
                    self._slots_used -= 1
                    self._opening -= 1
                    self._serve()
                else:
                    self._return(connection)
            raise

    def _serve(self) -> None:
        """Give idle connections and free slots to the waiting borrowers, in their order."""
        while self._waiting:
            waiter = self._waiting[0]
            if not waiter.done() and not self._serve_one(waiter):
                return
            self._waiting.popleft()

    def _serve_one(self, waiter: asyncio.Future[SmtpConnection | None]) -> bool:
        """Whether the waiter got a result. If not, `_serve` is called again when something has changed."""
        pause = self._backoff.remaining(asyncio.get_running_loop().time())
        if self._closed:
            waiter.set_exception(RelayDown(Phase.CONNECT, "the pool of connections is closed"))
        elif self._idle:
            connection = next(reversed(self._idle))
            self._remove_from_idle(connection)
            waiter.set_result(connection)
        elif pause and (self._slots_used or (self._backoff.ended_with_421 and pause <= self._timeout)):
            self._serve_in(pause)
            return False
        elif pause:
            waiter.set_exception(self._backoff.last_failure())
        elif self._slots_used < self.capacity.connections and (self._last_attempt_succeeded or not self._opening):
            self._reserve_slot()
            waiter.set_result(None)
        else:
            return False
        return True

    def _serve_in(self, seconds: float) -> None:
        if self._serve_timer is not None:
            self._serve_timer.cancel()
        self._serve_timer = asyncio.get_running_loop().call_later(seconds, self._serve)

    async def _is_alive(self, connection: SmtpConnection) -> bool:
        idle = asyncio.get_running_loop().time() - connection.last_received_at
        if not connection.usable:
            connection.abort()
            return False
        limit = self._timings.idle_check
        return idle < limit or await connection.alive(min(self._timeout, limit))

    # ── opening ──

    def _reserve_slot(self) -> None:
        """Reserve a slot for `_new`."""
        self._slots_used += 1
        self._opening += 1

    async def _new(self) -> SmtpConnection:
        """Open a connection in a reserved slot. Raises RelayDown, and has then freed the slot."""
        loop = asyncio.get_running_loop()
        tried_at = loop.time()
        try:
            opened = await ConnectionAttempt(
                self._address, self._tls_context, seconds=self._timeout, hello_name=self._hello_name
            ).run()
        except BaseException as error:
            if isinstance(error, RelayDown):
                self._attempt_failed(error, tried_at=tried_at, now=loop.time())
            self._slots_used -= 1
            self._opening -= 1
            self._serve()
            raise
        self._opening -= 1
        self._last_attempt_succeeded = True
        self._backoff.attempt_succeeded(tried_at=tried_at)
        wire = Wire(opened.transport, lambda: self._on_closed(connection), quit_timeout=self._timings.quit_timeout)
        connection = SmtpConnection(
            wire,
            opened.extensions,
            messages=self._messages,
            timeout=self._timeout,
            data_timeout=self._data_timeout,
        )
        self._size_limit = SizeLimit(connection.max_message_octets, connection.eight_bit)
        self._size_limit_at = loop.time()
        self._open[connection] = None
        self._serve()  # other borrowers may open connections now, too
        if self._closed:
            connection.abort()
            raise RelayDown(Phase.CONNECT, "the pool of connections is closed")
        return connection

    def _attempt_failed(self, down: RelayDown, *, tried_at: float, now: float) -> None:
        self._last_attempt_succeeded = False
        if self._open:
            self.capacity.connection_refused(len(self._open))
        self._backoff.attempt_failed(down, tried_at=tried_at, now=now)
        if self._log_throttle.allows((down.phase, None if down.reply is None else down.reply.code), now):
            log.info("relay_connection_failed", phase=down.phase.value, detail=down.detail, open=len(self._open))

    # ── returning ──

    def _return(self, connection: SmtpConnection) -> None:
        loop = asyncio.get_running_loop()
        if connection.closing_reply is not None:
            self._backoff.session_ended(connection.closing_reply, accepted_any=connection.accepted > 0, now=loop.time())
        if self._closed or not (connection.usable and connection.between_messages):
            self._quit(connection)
        else:
            self._idle[connection] = loop.call_later(self._idle_seconds, self._close_idle, connection)
            self._close_excess()
        self._serve()

    def _close_excess(self) -> None:
        """Close idle connections until no more are open than the relay allows now: it counts idle ones, too."""
        while self._idle and self._has_excess:
            self._close_idle(next(iter(self._idle)))

    @property
    def _has_excess(self) -> bool:
        return len(self._open) - len(self._quitting) > self.capacity.connections

    def _close_idle(self, connection: SmtpConnection) -> None:
        self._remove_from_idle(connection)
        self._quit(connection)

    def _quit(self, connection: SmtpConnection) -> None:
        self._quitting.add(connection)
        connection.quit()

    def _remove_from_idle(self, connection: SmtpConnection) -> bool:
        """Whether the connection was idle. It no longer counts as idle, and its timer is cancelled."""
        timer = self._idle.pop(connection, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _on_closed(self, connection: SmtpConnection) -> None:
        """The transport is closed: its slot is free."""
        self._remove_from_idle(connection)
        self._open.pop(connection, None)
        self._quitting.discard(connection)
        self._slots_used -= 1
        self._connection_closed.set()
        self._serve()


def _asks_to_wait(down: RelayDown) -> bool:
    """Whether the relay works, and refuses a connection only for now: 421 (RFC 5321 §3.8)."""
    return down.reply is not None and closes_connection(down.reply)
