"""Raw message → report. It raises no error and takes bounded time, whatever the message contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.reports.complaint import complaint
from marketing_service.reports.delivery_status import delivery_status_report
from marketing_service.reports.human_readable import human_readable_report
from marketing_service.reports.parts import Unreadable, parse, parts
from marketing_service.reports.reason_lines import text_of
from marketing_service.reports.report import Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import Message

    from marketing_service.reports.parts import Part

log = structlog.get_logger(__name__)

MAX_OCTETS_READ = 256_000
"""Only the start of a message is read: a report comes before the original message that it contains."""

_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})


def read_report(raw: bytes) -> Report:
    """The report in the message; Kind.OTHER if it is not a report. Never raises."""
    raw = raw[:MAX_OCTETS_READ]
    try:
        return _read(raw)
    except Unreadable as error:
        log.warning("report_unreadable", reason=str(error))
    except Exception as error:  # noqa: BLE001 - a message that breaks the parser must not be retried for ever
        log.warning("report_unreadable", reason=type(error).__name__)
    return Report(Kind.OTHER)


def _read(raw: bytes) -> Report:
    message = parse(raw)
    found = list(parts(message))
    return complaint(found) or _delivery(found) or _human_readable(raw, message, found) or Report(Kind.OTHER)


def _delivery(found: Sequence[Part]) -> Report | None:
    texts = [part.text for part in found if part.type in _STATUS]
    return delivery_status_report(texts, text_of(found)) if texts else None


def _human_readable(raw: bytes, message: Message, found: Sequence[Part]) -> Report | None:
    has_empty_status = any(part.type in _STATUS for part in found)
    return human_readable_report(raw, message, has_empty_status=has_empty_status)
