"""The email log: a campaign's sends, read a page at a time, however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, tuple_

from marketing_service.errors import NotFound
from marketing_service.store import campaigns
from marketing_service.store.model import NO_ERROR, LogEntry, LogKey, Page, SendError
from marketing_service.store.states import SendStatus
from marketing_service.store.tables import sends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from uuid import UUID

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transaction, Transactions

EXPORT_PAGE = 1000
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_COLUMNS = (
    sends.c.id,
    sends.c.contact_id,
    sends.c.email,
    sends.c.address,
    sends.c.status,
    sends.c.reason,
    sends.c.attempts,
    sends.c.smtp_code,
    sends.c.enhanced_code,
    sends.c.error_message,
    sends.c.queued_at,
    sends.c.sent_at,
    sends.c.opened_at,
    sends.c.last_opened_at,
    sends.c.open_count,
    sends.c.unsubscribed_at,
)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which sends: any of `statuses` (none named: all), and an address that starts with `prefix`."""

    statuses: Collection[SendStatus] = ()
    prefix: str | None = None


async def page(
    tx: Transaction, org_id: str, campaign_id: UUID, *, only: LogFilter, after: LogKey | None, limit: int
) -> Page[LogEntry, LogKey]:
    """At most `limit` entries, by address, then id. Raises NotFound."""
    if await campaigns.progress(tx.connection, org_id, campaign_id) is None:
        raise NotFound("There is no such campaign.")
    return await _page(tx.connection, org_id, campaign_id, only, after, limit)


async def entry(tx: Transaction, org_id: str, campaign_id: UUID, send_id: UUID) -> LogEntry:
    """One send's entry. Raises NotFound."""
    statement = select(*_COLUMNS).where(
        sends.c.org_id == org_id, sends.c.campaign_id == campaign_id, sends.c.id == send_id
    )
    row = (await tx.connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no such send in this campaign.")
    return _entry(row)


async def pages(
    transactions: Transactions, org_id: str, campaign_id: UUID, *, only: LogFilter
) -> AsyncIterator[Sequence[LogEntry]]:
    """Every entry, a page at a time, each read in a short transaction of its own: at any moment one page is in
    memory and, between pages, no connection is held. Raises NotFound or Unavailable, also between pages."""
    after: LogKey | None = None
    while True:
        async with transactions(org_id) as tx:
            if after is None:
                found = await page(tx, org_id, campaign_id, only=only, after=None, limit=EXPORT_PAGE)
            else:
                found = await _page(tx.connection, org_id, campaign_id, only, after, EXPORT_PAGE)
        yield found.items
        if found.next is None:
            return
        after = found.next


async def _page(
    conn: AsyncConnection, org_id: str, campaign_id: UUID, only: LogFilter, after: LogKey | None, limit: int
) -> Page[LogEntry, LogKey]:
    place = (sends.c.address, sends.c.id)
    statement = select(*_COLUMNS).where(sends.c.org_id == org_id, sends.c.campaign_id == campaign_id)
    if only.statuses:
        statement = statement.where(sends.c.status.in_(only.statuses))
    if only.prefix:
        # A range of the log's own index, where LIKE with a parameter would read the whole campaign.
        first = only.prefix.lower()
        statement = statement.where(sends.c.address >= first)
        if (end := _after_prefix(first)) is not None:
            statement = statement.where(sends.c.address < end)
    if after is not None:
        statement = statement.where(tuple_(*place) > (after.address, after.id))
    rows = (await conn.execute(statement.order_by(*place).limit(limit + 1))).mappings().all()
    items = [_entry(row) for row in rows[:limit]]
    return Page(items, LogKey(items[-1].address, items[-1].id) if len(rows) > limit else None)


def _after_prefix(prefix: str) -> str | None:
    """The least text greater than every text with this prefix, by code point (PostgreSQL's "C" collation over
    UTF-8 orders so); None where there is none."""
    stem = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    return stem[:-1] + chr(_SURROGATES.stop if last in _SURROGATES else last)


def _entry(row: RowMapping) -> LogEntry:
    error = SendError(row["smtp_code"], row["enhanced_code"], row["error_message"])
    return LogEntry(
        id=row["id"],
        contact_id=row["contact_id"],
        email=row["email"],
        address=row["address"],
        status=SendStatus(row["status"]),
        reason=row["reason"],
        attempts=row["attempts"],
        error=None if error == NO_ERROR else error,
        queued_at=row["queued_at"],
        sent_at=row["sent_at"],
        opened_at=row["opened_at"],
        last_opened_at=row["last_opened_at"],
        open_count=row["open_count"],
        unsubscribed_at=row["unsubscribed_at"],
    )
