"""Handles one report from standard input, for a mail server's pipe. The exit code gives the result (sysexits.h)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.inbound.process import require_report_handler
from marketing_service.inbound.session import MAX_OCTETS

if TYPE_CHECKING:
    from typing import BinaryIO

    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)


async def handle_message(settings: Settings, recipient: str, message: BinaryIO) -> int:
    """Return EX_OK if the report is handled, and EX_NOUSER if the recipient is not an address of this service.

    Raises SettingsError if MARKETING_BOUNCE_DOMAIN is not set, and Unavailable if the report must be delivered again.
    """
    raw = message.read(MAX_OCTETS)
    while message.read(1 << 16):
        pass  # read to the end, or the mail server fails with a broken pipe
    async with Resources.open(settings, process="worker") as resources:
        handler = require_report_handler(resources)
        if not handler.accepts(recipient):
            log.warning("report_recipient_unknown")
            return os.EX_NOUSER
        await handler.handle(recipient, raw)
    return os.EX_OK
