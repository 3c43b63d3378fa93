"""Serves the API with uvicorn until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from marketing_service.api.app import create_app
from marketing_service.api.write_coalescing import CoalescingProtocol
from marketing_service.bootstrap import Resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastapi import APIRouter

    from marketing_service.settings import Settings

_GRACE_SECONDS = 10


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replaces uvicorn's handlers: they raise the signal again at the end, so that a normal stop looks like a
        kill."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(settings: Settings, *, host: str, port: int, more_routers: Sequence[APIRouter] = ()) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0, or 1 if the address is not available."""
    return uvloop.run(_serve(settings, host=host, port=port, more_routers=more_routers))


async def _serve(settings: Settings, *, host: str, port: int, more_routers: Sequence[APIRouter]) -> int:
    async with Resources.open(settings, process="api") as resources:
        server = _Server(
            uvicorn.Config(
                create_app(resources, more_routers),
                host=host,
                port=port,
                http=CoalescingProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # the API reads X-Forwarded-For itself: MARKETING_PROXY_HOPS
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        gc.freeze()  # objects of the start-up live until the end: the collector need not visit them
        await server.serve()
        return 0 if server.started else 1
