"""The process that listens for reports, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.errors import SettingsError
from marketing_service.inbound.metrics import ListenerStats
from marketing_service.inbound.session import Sessions
from marketing_service.metrics import NO_METRICS, Endpoint, serve_metrics

if TYPE_CHECKING:
    from marketing_service.settings import Settings
    from marketing_service.tracking import ReportHandler

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """The address to listen at, and the protocol: LMTP, or SMTP if `smtp` is true. Port 0 means any free port."""

    host: str
    port: int
    smtp: bool = False
    metrics: Endpoint = NO_METRICS


async def run_listener(settings: Settings, listener: Listener) -> None:
    """Receive reports until SIGTERM or SIGINT. Then finish the reports that are being handled, and reply to them.

    Raises SettingsError if MARKETING_BOUNCE_DOMAIN is not set, or if the database, Redis, the address or the port
    cannot be used as it is.
    """
    async with Resources.open(settings, process="worker") as resources:
        await resources.verify()
        stats = ListenerStats()
        sessions = Sessions(require_report_handler(resources), stats)
        protocol = sessions.smtp if listener.smtp else sessions.lmtp
        hostname = socket.gethostname()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        drain_seconds = resources.worker_limits.drain_seconds
        with serve_metrics(listener.metrics, stats):
            try:
                server = await loop.create_server(lambda: protocol(hostname), listener.host, listener.port)
            except OSError as error:
                raise SettingsError(
                    f"cannot listen at {listener.host} port {listener.port}: {error.strerror}"
                ) from error
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            log.info("listener_started", smtp=listener.smtp, port=server.sockets[0].getsockname()[1])
            try:
                await stop.wait()
                log.info("listener_draining", seconds=drain_seconds)
            finally:
                server.close()
                await sessions.drain(drain_seconds)
    log.info("listener_stopped")


def require_report_handler(resources: Resources) -> ReportHandler:
    """Raises SettingsError if MARKETING_BOUNCE_DOMAIN is not set."""
    handler = resources.report_handler()
    if handler is None:
        raise SettingsError("MARKETING_BOUNCE_DOMAIN is not set, so no mail server can deliver reports to this service")
    return handler
