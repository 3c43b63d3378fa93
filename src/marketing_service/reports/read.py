"""From a raw message to what it says. Whatever comes, this ends soon and raises nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.reports.complaint import complaint
from marketing_service.reports.delivery import delivery_report
from marketing_service.reports.parts import Unreadable, parse, parts
from marketing_service.reports.prose import prose_report
from marketing_service.reports.report import Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.reports.parts import Part

log = structlog.get_logger(__name__)

MAX_OCTETS_READ = 256_000
"""What a report says stands before the message that it brings back, and that one's header is not long."""

_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})


def read_report(raw: bytes) -> Report:
    """What the message says; OTHER for everything that is no report. Never raises."""
    raw = raw[:MAX_OCTETS_READ]
    try:
        return _read(raw)
    except Unreadable as error:
        log.warning("report_unreadable", reason=str(error))
    except Exception as error:  # noqa: BLE001 - a parser that a stranger's message breaks must not keep it coming again
        log.warning("report_unreadable", reason=type(error).__name__)
    return Report(Kind.OTHER)


def _read(raw: bytes) -> Report:
    message = parse(raw)
    found = list(parts(message))
    return complaint(found) or _delivery(found) or prose_report(raw, message) or Report(Kind.OTHER)


def _delivery(found: Sequence[Part]) -> Report | None:
    for part in found:
        if part.type in _STATUS:
            report = delivery_report(part.text)
            if report is not None:
                return report
    return None
