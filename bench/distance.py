"""A TCP proxy that simulates distance: `python -m bench.distance --port N --to N --round-trip SECONDS`.

Every octet arrives half a round trip late.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from typing import cast

import uvloop


class DelayedDirection(asyncio.Protocol):
    """One direction of a proxied connection. It forwards data to the transport of `peer` after the delay, in order."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._delayed: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.peer: DelayedDirection | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._forward_later(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._forward_later(None)

    def _forward_later(self, data: bytes | None) -> None:
        self._delayed.append((self._loop.time() + self._delay, data))
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._forward_due)

    def _forward_due(self) -> None:
        self._timer = None
        while self._delayed:
            due, data = self._delayed[0]
            wait = due - self._loop.time()
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._forward_due)
                return
            self._delayed.popleft()
            if self.peer is None or self.peer.transport is None:
                continue
            if data is None:
                self.peer.transport.close()
            else:
                self.peer.transport.write(data)


async def _serve(port: int, to: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    connecting: set[asyncio.Task[None]] = set()

    async def connect(client_side: DelayedDirection) -> None:
        _, server_side = await loop.create_connection(lambda: DelayedDirection(delay), "127.0.0.1", to)
        client_side.peer, server_side.peer = server_side, client_side

    def accept() -> DelayedDirection:
        client_side = DelayedDirection(delay)
        task = loop.create_task(connect(client_side))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return client_side

    async with await loop.create_server(accept, "127.0.0.1", port, backlog=1000):
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--round-trip", type=float, required=True, help="seconds")
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.to, options.round_trip / 2))


if __name__ == "__main__":
    main()
