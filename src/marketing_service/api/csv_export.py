"""The email log as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.api.csv_cells import lines, moment, safe
from marketing_service.store.email_log import NO_ERROR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from marketing_service.store.email_log import LogEntry

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


async def chunks(first: Sequence[LogEntry], rest: AsyncIterator[Sequence[LogEntry]]) -> AsyncIterator[bytes]:
    """The file, a page of entries at a time. An error of `rest` comes out of here as it is, so that the
    connection breaks: a file that merely ended early would pass for a whole one."""
    yield lines([HEADER])
    yield lines(_row(entry) for entry in first)
    async for page in rest:
        yield lines(_row(entry) for entry in page)


def _row(entry: LogEntry) -> tuple[object, ...]:
    error = entry.error or NO_ERROR
    return (
        entry.id,
        safe(entry.contact_id),
        safe(entry.email),
        entry.status,
        safe(entry.reason),
        entry.attempts,
        error.smtp_code,
        safe(error.enhanced_code),
        safe(error.message),
        moment(entry.queued_at),
        moment(entry.sent_at),
        moment(entry.opened_at),
        moment(entry.last_opened_at),
        entry.open_count,
        moment(entry.unsubscribed_at),
    )
