"""The listening process, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.inbound.metrics import Counts
from marketing_service.inbound.session import Conversations
from marketing_service.metrics import NOWHERE, Endpoint, shown
from marketing_service.settings import SettingsError
from marketing_service.tracking import Reports

if TYPE_CHECKING:
    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen, and in which language: LMTP unless `smtp`. A port of 0 takes any free one."""

    host: str
    port: int
    smtp: bool = False
    metrics: Endpoint = NOWHERE


async def run_door(settings: Settings, door: Door) -> None:
    """Take reports until SIGTERM or SIGINT; what is being written down then is finished and answered.

    Raises SettingsError without MARKETING_BOUNCE_DOMAIN, and when nobody can listen there.
    """
    async with Resources.open(settings, process="worker") as resources:
        counts = Counts()
        conversations = Conversations(reports_of(resources), counts)
        speak = conversations.smtp if door.smtp else conversations.lmtp
        hostname = socket.gethostname()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        with shown(door.metrics, counts):
            try:
                server = await loop.create_server(lambda: speak(hostname), door.host, door.port)
            except OSError as error:
                raise SettingsError(f"nobody can listen at {door.host} port {door.port}: {error.strerror}") from error
            for signalled in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(signalled, stop.set)
            log.info("door_opened", smtp=door.smtp, port=server.sockets[0].getsockname()[1])
            try:
                await stop.wait()
                log.info("door_closing", seconds=settings.drain_seconds)
            finally:
                server.close()
                await conversations.finish(settings.drain_seconds)
    log.info("door_closed")


def reports_of(resources: Resources) -> Reports:
    """Raises SettingsError without MARKETING_BOUNCE_DOMAIN."""
    if resources.bounces is None:
        raise SettingsError("MARKETING_BOUNCE_DOMAIN is not set, so nothing can come back to this service")
    return Reports(
        resources.transactions,
        resources.doorbell,
        tokens=resources.tokens,
        addresses=resources.bounces,
        soft_bounces=resources.settings.soft_bounces,
    )
