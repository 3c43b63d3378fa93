"""Serves a web application inside this process."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fastapi import FastAPI

_POLL_SECONDS = 0.01


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signal handlers alone: the process that runs this server handles them."""
        yield


@asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[int]:
    """Serves `app` on a loopback port while the block runs. `port` 0 means any free one. Gives the port."""
    listening = socket.create_server(("127.0.0.1", port))
    with listening:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started and not running.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(_POLL_SECONDS)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await running
