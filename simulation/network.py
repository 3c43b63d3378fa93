"""Connections between workers and the relay: octets in order, late, in pieces, and cut at any octet."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from simulation.loop import WORLD, current_process

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from simulation.loop import Process, VirtualLoop
    from simulation.scenario import Cut


class Server(Protocol):
    """The relay's end of a connection."""

    def received(self, octets: bytes) -> None: ...

    def lost(self) -> None: ...


_BUFFER = 65_536
"""Octets that may be under way before the writer has to wait."""


class _Direction:
    """Octets on their way from one end to the other. `limit`: the connection is cut after so many of them."""

    def __init__(
        self,
        delay: Callable[[], float],
        schedule: Callable[[float, Callable[[], None]], None],
        deliver: Callable[[bytes], None],
        end: Callable[[], None],
        cut: Callable[[], None],
        limit: int | None,
    ) -> None:
        self._delay = delay
        self._schedule = schedule
        self._deliver = deliver
        self._end = end
        self._cut = cut
        self._limit = limit
        self._under_way: deque[tuple[bytes, Callable[[], None] | None]] = deque()
        self._is_moving = False
        self._is_over = False

    @property
    def octets(self) -> int:
        """How many octets are under way."""
        return sum(len(octets) for octets, _ in self._under_way)

    def send(self, octets: bytes, on_delivered: Callable[[], None] | None = None) -> None:
        self._under_way.append((octets, on_delivered))
        self._move()

    def finish(self) -> None:
        """After the octets that are under way comes the end."""
        self.send(b"")

    def lose(self, order: random.Random) -> None:
        """Of the octets that are under way, only some arrive. Then comes the end."""
        octets = b"".join(item for item, _ in self._under_way)
        self._under_way.clear()
        kept = octets[: order.randint(0, len(octets))]
        if kept:
            self.send(kept)
        self.finish()

    def _move(self) -> None:
        if self._under_way and not self._is_moving and not self._is_over:
            self._is_moving = True
            self._schedule(self._delay(), self._arrive)

    def _arrive(self) -> None:
        self._is_moving = False
        if self._is_over or not self._under_way:
            return
        octets, on_delivered = self._under_way.popleft()
        if not octets:
            self._is_over = True
            self._end()
            return
        if self._limit is not None and len(octets) > self._limit:
            kept, self._limit = octets[: self._limit], None
            self._under_way.clear()
            if kept:
                self._deliver(kept)
            self._cut()
            return
        if self._limit is not None:
            self._limit -= len(octets)
        self._deliver(octets)
        if on_delivered is not None and not self._is_over:
            on_delivered()
        self._move()

    def stop(self) -> None:
        self._is_over = True


class Connection(asyncio.Transport):
    """One connection. It is the transport of the worker's end; `server` is the relay's end."""

    def __init__(
        self,
        loop: VirtualLoop,
        order: random.Random,
        *,
        number: int,
        latency: float,
        cut: Cut | None,
        on_write: Callable[[Connection, bytes], None],
        on_closed: Callable[[Connection], None],
    ) -> None:
        super().__init__()
        self.number = number
        self.process: Process = current_process()
        self.server: Server
        self._loop = loop
        self._order = order
        self._latency = latency
        self._on_write = on_write
        self._on_closed = on_closed
        self._protocol: Any = None
        self._closing = False
        self._is_full = False
        self._reset = order.random() < 0.5
        at_relay = None if cut is None or not cut.at_relay else cut.octets
        at_service = None if cut is None or cut.at_relay else cut.octets
        self._to_relay = _Direction(
            self._delay,
            lambda seconds, call: loop.call_in(WORLD, seconds, call),
            self._to_server,
            self._server_lost,
            self._cut,
            at_relay,
        )
        self._to_service = _Direction(
            self._delay,
            lambda seconds, call: loop.call_in(self.process, seconds, call),
            self._received,
            self._ended,
            self._cut,
            at_service,
        )

    def _delay(self) -> float:
        return self._order.random() * self._latency

    # ── the service's end ──

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        octets = bytes(data)
        self._on_write(self, octets)
        self._to_relay.send(octets)
        if not self._is_full and self._to_relay.octets > _BUFFER:
            self._is_full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if not self._closing:
            self._to_relay.finish()
            self._close(None)

    def abort(self) -> None:
        if not self._closing:
            self._to_relay.lose(self._order)
            self._close(None)

    def _close(self, error: Exception | None) -> None:
        """The protocol gets no more data; it is told at the next step."""
        self._closing = True
        self._to_service.stop()
        self._on_closed(self)
        self._loop.call_in(self.process, 0.0, self._tell_lost, error)

    def _tell_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def _received(self, octets: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(octets)

    def _ended(self) -> None:
        if self._closing:
            return
        if self._reset:
            self._close(ConnectionResetError())
        else:
            self._protocol.eof_received()
            if not self._closing:
                self._close(None)

    # ── the relay's end ──

    def reply(self, octets: bytes, on_delivered: Callable[[], None] | None = None) -> None:
        """Send a reply, in one piece or in two."""
        if len(octets) > 1 and self._order.random() < 0.2:
            half = self._order.randrange(1, len(octets))
            self._to_service.send(octets[:half])
            octets = octets[half:]
        self._to_service.send(octets, on_delivered)

    def hang_up(self) -> None:
        """The relay closes the connection, after its last reply."""
        self._to_relay.stop()
        self._to_service.finish()

    def _to_server(self, octets: bytes) -> None:
        if self._is_full and self._to_relay.octets <= _BUFFER:
            self._is_full = False
            self._loop.call_in(self.process, 0.0, self._resume)
        self.server.received(octets)

    def _resume(self) -> None:
        if not self._closing:
            self._protocol.resume_writing()

    def _server_lost(self) -> None:
        self.server.lost()

    # ── in between ──

    def _cut(self) -> None:
        """The network ends the connection. Some of what is under way still arrives."""
        self._to_relay.lose(self._order)
        self._to_service.lose(self._order)

    def die(self) -> None:
        """The worker's process has ended: the kernel closes its end."""
        if not self._closing:
            self._closing = True
            self._to_relay.lose(self._order)
            self._to_service.stop()
            self._on_closed(self)
