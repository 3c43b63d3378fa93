"""Serves the API with uvicorn until SIGTERM or SIGINT, and the routes for the operators on a port of their own."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog
import uvicorn
import uvloop

from marketing_service import open_files
from marketing_service.api.app import create_app, create_internal_app
from marketing_service.api.connection_limits import MAX_CONNECTIONS, LimitedProtocol
from marketing_service.api.event_stream import encode
from marketing_service.api.metrics import Metrics
from marketing_service.api.progress_feeds import ProgressFeeds
from marketing_service.bootstrap import Resources
from marketing_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from marketing_service.settings import Settings

_GRACE_SECONDS = 10
_OTHER_FILES = 500
"""Open files that are no connections of clients."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than usual proxies and clients keep an idle connection (60 s or less). Otherwise they may send a request while
the connection is being closed, and cannot know whether it was read."""

log = structlog.get_logger(__name__)


class Listener(NamedTuple):
    """An address and a port to listen at. Port 0 means any free port."""

    host: str
    port: int


_EVERY_ADDRESS = ("::", "0.0.0.0")  # noqa: S104 - only if the operator asks for `::`
"""`::` means both families. Each has a socket of its own: an IPv4 client at an IPv6 socket would have an address that
begins as that of all other IPv4 clients, and would share their limit."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Installs no handlers. uvicorn's own raise the signal again at the end, so that a normal stop looks like a
        kill; and one signal must stop both servers."""
        yield


def serve(
    settings: Settings,
    public: Listener,
    internal: Listener | None = None,
    *,
    more_routers: Sequence[APIRouter] = (),
    root_path: str = "",
) -> int:
    """Serve until SIGTERM or SIGINT. `internal` serves health, readiness and metrics; without it, only `/healthz` is
    served, at the public port. `root_path` is the prefix of the public paths at the proxy. Returns the exit code.
    Raises SettingsError if a port cannot be used, or if the database or Redis cannot be used as it is."""
    with ExitStack() as stack:
        at_public = stack.enter_context(_listening(public, "--port"))
        at_internal = stack.enter_context(_listening(internal, "--internal-port")) if internal else []
        return uvloop.run(_serve(settings, at_public, at_internal, more_routers, root_path))


async def _serve(
    settings: Settings,
    public: list[socket.socket],
    internal: list[socket.socket],
    more_routers: Sequence[APIRouter],
    root_path: str,
) -> int:
    open_files.allow(MAX_CONNECTIONS + _OTHER_FILES)
    async with Resources.open(settings, process="api") as resources:
        await resources.verify()
        metrics = Metrics()
        feeds = ProgressFeeds(resources.transactions, encode)
        app = create_app(
            resources, more_routers, metrics=metrics, feeds=feeds, health=not internal, root_path=root_path
        )
        server = _server(app)
        inside = _server(create_internal_app(resources, metrics=metrics)) if internal else None

        def stop() -> None:
            feeds.stop()  # otherwise the server waits for event streams, which go on
            server.handle_exit(signal.SIGTERM, None)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        for listening in (*public, *internal):
            listening.listen()  # before the log line: its reader may connect at once
        log.info("listening", public=_addresses(public), internal=_addresses(internal))
        gc.freeze()  # objects of the start-up live until the end: the collector need not visit them
        serving_inside = None if inside is None else asyncio.create_task(inside.serve(internal))
        if serving_inside is not None:
            # Whatever ends it, the process must not go on without its health checks.
            serving_inside.add_done_callback(lambda _: stop())
        try:
            await server.serve(public)
        finally:
            await feeds.aclose()
            if inside is not None and serving_inside is not None:
                # Last, so that a probe still gets its response while the requests in progress end.
                inside.handle_exit(signal.SIGTERM, None)
                await serving_inside
        return 0 if server.started else 1


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=LimitedProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # the API reads X-Forwarded-For itself: MARKETING_PROXY_HOPS
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


@contextmanager
def _listening(listener: Listener, option: str) -> Iterator[list[socket.socket]]:
    """Sockets at every address of the host, all with the same port. Raises SettingsError, in one line."""
    host, port = listener
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        try:
            found = [
                place
                for name in (_EVERY_ADDRESS if host == "::" else (host,))
                for place in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            ]
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listening = stack.enter_context(socket.socket(family, kind, protocol))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.bind((address[0], port, *address[2:]))
                port = listening.getsockname()[1]
                sockets.append(listening)
        except OSError as error:
            where = f"{host} port {port} ({option})"
            raise SettingsError(f"the API cannot listen at {where}: {error.strerror or error}") from error
        yield sockets


def _addresses(sockets: Sequence[socket.socket]) -> list[str]:
    """`127.0.0.1:8000` and so on."""
    names = [listening.getsockname()[:2] for listening in sockets]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in names]
