"""The email log as CSV (RFC 4180): UTF-8, CRLF, and no cell that a spreadsheet would take for a formula."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from marketing_service.campaigns.model import NO_ERROR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import datetime

    from marketing_service.campaigns.model import LogEntry

HEADER = (
    "id",
    "contactId",
    "email",
    "status",
    "reason",
    "attempts",
    "errorSmtpCode",
    "errorEnhancedCode",
    "errorMessage",
    "queuedAt",
    "sentAt",
    "openedAt",
    "lastOpenedAt",
    "openCount",
    "unsubscribedAt",
)
# What spreadsheets read as the start of a formula; the wide forms count in some of them as the plain ones do.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


async def chunks(first: Sequence[LogEntry], rest: AsyncIterator[Sequence[LogEntry]]) -> AsyncIterator[bytes]:
    """The file, a page of entries at a time. An error of `rest` comes out of here as it is, so that the
    connection breaks: a file that merely ended early would pass for a whole one."""
    yield _lines([HEADER])
    yield _lines(_row(entry) for entry in first)
    async for page in rest:
        yield _lines(_row(entry) for entry in page)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _row(entry: LogEntry) -> tuple[object, ...]:
    error = entry.error or NO_ERROR
    return (
        entry.id,
        _safe(entry.contact_id),
        _safe(entry.email),
        entry.status,
        _safe(entry.reason),
        entry.attempts,
        error.smtp_code,
        _safe(error.enhanced_code),
        _safe(error.message),
        _moment(entry.queued_at),
        _moment(entry.sent_at),
        _moment(entry.opened_at),
        _moment(entry.last_opened_at),
        entry.open_count,
        _moment(entry.unsubscribed_at),
    )


def _safe(text: str | None) -> str | None:
    return "'" + text if text is not None and text.startswith(_FORMULA) else text


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
