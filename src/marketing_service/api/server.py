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
from marketing_service.api.write_coalescing import GatheringProtocol
from marketing_service.bootstrap import Resources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastapi import APIRouter

    from marketing_service.settings import Settings

_GRACE_SECONDS = 10


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn raises a signal again once it has stopped, so that an orderly end looks like a kill."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(settings: Settings, *, host: str, port: int, more_routers: Sequence[APIRouter] = ()) -> int:
    """Serve until told to stop; returns the exit code: 0, or 1 where the address could not be had."""
    return uvloop.run(_serve(settings, host=host, port=port, more_routers=more_routers))


async def _serve(settings: Settings, *, host: str, port: int, more_routers: Sequence[APIRouter]) -> int:
    async with Resources.open(settings, process="api") as resources:
        server = _Server(
            uvicorn.Config(
                create_app(resources, more_routers),
                host=host,
                port=port,
                http=GatheringProtocol,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # MARKETING_PROXY_HOPS says whom to believe
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        gc.freeze()  # what was made at the start stays: there is no garbage to look for in it
        await server.serve()
        return 0 if server.started else 1
