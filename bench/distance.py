"""A way to a port that takes time: `python -m bench.distance`. Every octet arrives half a round trip late."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from typing import cast

import uvloop


class Way(asyncio.Protocol):
    """One direction. What comes is passed on to `other`'s transport later, in the order it came."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._travelling: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.other: Way | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._send_off(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._send_off(None)

    def _send_off(self, data: bytes | None) -> None:
        self._travelling.append((self._loop.time() + self._delay, data))
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        while self._travelling:
            due, data = self._travelling[0]
            wait = due - self._loop.time()
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._arrive)
                return
            self._travelling.popleft()
            if self.other is None or self.other.transport is None:
                continue
            if data is None:
                self.other.transport.close()
            else:
                self.other.transport.write(data)


async def _serve(port: int, to: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    connecting: set[asyncio.Task[None]] = set()

    async def connect(here: Way) -> None:
        _, there = await loop.create_connection(lambda: Way(delay), "127.0.0.1", to)
        here.other, there.other = there, here

    def accept() -> Way:
        here = Way(delay)
        task = loop.create_task(connect(here))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return here

    async with await loop.create_server(accept, "127.0.0.1", port, backlog=1000):
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--round-trip", type=float, required=True, help="seconds")
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.to, options.round_trip / 2))


if __name__ == "__main__":
    main()
