"""One message on standard input, for a mail server's pipe; the exit code says what became of it (sysexits.h)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.inbound.process import reports_of
from marketing_service.inbound.session import MAX_OCTETS

if TYPE_CHECKING:
    from typing import BinaryIO

    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)


async def take_one(settings: Settings, recipient: str, message: BinaryIO) -> int:
    """EX_OK: done, or nothing to be done. EX_NOUSER: the address is none of ours.

    Raises SettingsError without MARKETING_BOUNCE_DOMAIN, Unavailable where the message is to be brought again.
    """
    raw = message.read(MAX_OCTETS)
    while message.read(1 << 16):
        pass  # to the end, or whoever writes it would call the pipe broken
    async with Resources.open(settings, process="worker") as resources:
        reports = reports_of(resources)
        if not reports.knows(recipient):
            log.warning("report_for_nobody")
            return os.EX_NOUSER
        await reports.take(recipient, raw)
    return os.EX_OK
