"""Raw message → report. It raises no error and takes bounded time, whatever the message contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.reports.complaint import complaint
from marketing_service.reports.delivery_status import delivery_status_report
from marketing_service.reports.human_readable import human_readable_report
from marketing_service.reports.parts import Unreadable, parse, parts
from marketing_service.reports.report import Kind, Report

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return complaint(found) or _delivery(found) or human_readable_report(raw, message) or Report(Kind.OTHER)


def _delivery(found: Sequence[Part]) -> Report | None:
    for part in found:
        if part.type in _STATUS:
            report = delivery_status_report(part.text)
            if report is not None:
                return report
    return None
