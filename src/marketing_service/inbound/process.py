"""The listening process, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.inbound.metrics import ListenerStats
from marketing_service.inbound.session import Sessions
from marketing_service.metrics import NOWHERE, Endpoint, exposed
from marketing_service.settings import SettingsError
from marketing_service.tracking import Reports

if TYPE_CHECKING:
    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, and in which language: LMTP unless `smtp`. A port of 0 takes any free one."""

    host: str
    port: int
    smtp: bool = False
    metrics: Endpoint = NOWHERE


async def run_listener(settings: Settings, listener: Listener) -> None:
    """Take reports until SIGTERM or SIGINT; what is being written down then is finished and answered.

    Raises SettingsError without MARKETING_BOUNCE_DOMAIN, and when nobody can listen there.
    """
    async with Resources.open(settings, process="worker") as resources:
        stats = ListenerStats()
        sessions = Sessions(reports_of(resources), stats)
        speak = sessions.smtp if listener.smtp else sessions.lmtp
        hostname = socket.gethostname()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        with exposed(listener.metrics, stats):
            try:
                server = await loop.create_server(lambda: speak(hostname), listener.host, listener.port)
            except OSError as error:
                raise SettingsError(
                    f"nobody can listen at {listener.host} port {listener.port}: {error.strerror}"
                ) from error
            for signalled in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signalled, stop.set)
            log.info("listener_started", smtp=listener.smtp, port=server.sockets[0].getsockname()[1])
            try:
                await stop.wait()
                log.info("listener_draining", seconds=settings.drain_seconds)
            finally:
                server.close()
                await sessions.finish(settings.drain_seconds)
    log.info("listener_stopped")


def reports_of(resources: Resources) -> Reports:
    """Raises SettingsError without MARKETING_BOUNCE_DOMAIN."""
    if resources.bounces is None:
        raise SettingsError("MARKETING_BOUNCE_DOMAIN is not set, so nothing can come back to this service")
    return Reports(
        resources.transactions,
        resources.job_queue,
        tokens=resources.tokens,
        addresses=resources.bounces,
        soft_bounces=resources.settings.soft_bounces,
    )
