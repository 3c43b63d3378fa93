"""The email log as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.api.csv_cells import lines, moment
from marketing_service.store.email_log import NO_ERROR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from marketing_service.store.email_log import LogEntry

HEADER = (
    "id",
    "contactId",
    "email",
    "firstName",
    "lastName",
    "companyName",
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
    "clickedAt",
    "unsubscribedAt",
)


async def chunks(
    first: Sequence[LogEntry], more: AsyncIterator[Sequence[LogEntry]], *, header: bool = True
) -> AsyncIterator[bytes]:
    """The file, one page of entries at a time; without `header`, only rows, which are appended to another file. An
    error of `more` is raised unchanged, so that the connection breaks: otherwise a truncated file would look
    complete."""
    if header:
        yield lines([HEADER])
    yield lines(_row(entry) for entry in first)
    async for page in more:
        yield lines(_row(entry) for entry in page)


def _row(entry: LogEntry) -> tuple[str | UUID | int | None, ...]:
    error = entry.error or NO_ERROR
    return (
        entry.id,
        entry.contact_id,
        entry.email,
        entry.first_name,
        entry.last_name,
        entry.company_name,
        entry.status,
        entry.reason,
        entry.attempts,
        error.smtp_code,
        error.enhanced_code,
        error.message,
        moment(entry.queued_at),
        moment(entry.sent_at),
        moment(entry.opened_at),
        moment(entry.last_opened_at),
        entry.open_count,
        moment(entry.clicked_at),
        moment(entry.unsubscribed_at),
    )
