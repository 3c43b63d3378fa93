"""The email log: the sends of a campaign, by address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, text, tuple_

from marketing_service.addresses import MAX_ENCODED, read_key_prefix
from marketing_service.store.page import Page
from marketing_service.store.states import SendStatus
from marketing_service.store.tables import sends

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import KeyPrefix, MailboxKey

_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_COLUMNS = (
    sends.c.id,
    sends.c.contact_id,
    sends.c.email,
    sends.c.address,
    sends.c.first_name,
    sends.c.last_name,
    sends.c.company_name,
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
    sends.c.clicked_at,
    sends.c.unsubscribed_at,
)


@dataclass(frozen=True, slots=True)
class SendError:
    """The last error of a send: the relay's reply, or the error of the connection to it."""

    smtp_code: int | None
    enhanced_code: str | None
    message: str | None


NO_ERROR = SendError(None, None, None)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One send in the email log. The log is ordered by `address`."""

    id: UUID
    contact_id: str
    email: str
    address: MailboxKey
    first_name: str | None
    last_name: str | None
    company_name: str | None
    status: SendStatus
    reason: str | None
    attempts: int
    error: SendError | None
    queued_at: datetime
    sent_at: datetime | None
    opened_at: datetime | None
    last_opened_at: datetime | None
    open_count: int
    clicked_at: datetime | None
    """When a person first followed a link of the message."""
    unsubscribed_at: datetime | None

    @property
    def key(self) -> LogKey:
        return LogKey(self.address, self.id)


@dataclass(frozen=True, slots=True)
class LogKey:
    """A place in the email log: the next page starts after it."""

    address: str
    id: UUID


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which sends: in one of `statuses` (empty: all), with an address that starts with `prefix`, in any spelling."""

    statuses: Collection[SendStatus] = ()
    prefix: str | None = None


# PostgreSQL does not know how many sends of a campaign are in a state. If it expects few, it would read the whole
# campaign and sort, instead of reading in the order of the log until the page is full.
_IN_ORDER = text("SELECT set_config('enable_sort', 'off', true)")


async def find_entry(conn: AsyncConnection, org_id: str, campaign_id: UUID, send_id: UUID) -> LogEntry | None:
    """One send; None if this organisation has no such send in this campaign."""
    statement = select(*_COLUMNS).where(
        sends.c.org_id == org_id, sends.c.campaign_id == campaign_id, sends.c.id == send_id
    )
    row = (await conn.execute(statement)).mappings().one_or_none()
    return None if row is None else _entry(row)


async def page_of_log(
    conn: AsyncConnection, org_id: str, campaign_id: UUID, *, only: LogFilter, after: LogKey | None, limit: int
) -> Page[LogEntry, LogKey]:
    """At most `limit` sends after `after`, by address, then id."""
    in_campaign = (sends.c.org_id == org_id, sends.c.campaign_id == campaign_id)
    place = (sends.c.address, sends.c.id)
    statement = select(*_COLUMNS).where(*in_campaign).order_by(*place).limit(limit + 1)
    if only.statuses:
        await conn.execute(_IN_ORDER)
        statement = statement.where(sends.c.status.in_(only.statuses))
    if after is not None:
        statement = statement.where(tuple_(*place) > (after.address, after.id))
    selections: list[Sequence[ColumnElement[bool]]] = [()]
    if only.prefix:
        search = read_key_prefix(only.prefix)
        selections = [_starts_with(search.plain)]
        if search.encoded is not None and (others := await _encoded_among(conn, in_campaign, search)):
            selections.append((sends.c.address.in_(others),))
    # Each selection is a statement of its own, so that each reads a range of the log's own index. No send is in both.
    entries = [
        _entry(row) for selection in selections for row in (await conn.execute(statement.where(*selection))).mappings()
    ]
    entries.sort(key=lambda entry: (entry.address, entry.id))
    items = entries[:limit]
    return Page(items, items[-1].key if len(entries) > limit else None)


async def _encoded_among(
    conn: AsyncConnection, in_campaign: Sequence[ColumnElement[bool]], search: KeyPrefix
) -> list[MailboxKey]:
    """The addresses in the campaign that only `search.includes` finds, among the first `MAX_ENCODED`."""
    statement = select(sends.c.address).distinct().where(*in_campaign, *_starts_with(search.encoded or ""))
    addresses = await conn.execute(statement.order_by(sends.c.address).limit(MAX_ENCODED))
    return [address for address in addresses.scalars() if search.includes(address)]


def _starts_with(prefix: str) -> Sequence[ColumnElement[bool]]:
    """A range of the log's own index; LIKE with a parameter would read the whole campaign."""
    end = _after_prefix(prefix)
    return (sends.c.address >= prefix, *(() if end is None else (sends.c.address < end,)))


def _after_prefix(prefix: str) -> str | None:
    """The smallest text that is greater than every text with this prefix; None if there is none. Texts are compared by
    code point, like PostgreSQL's "C" collation over UTF-8 does."""
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
        first_name=row["first_name"],
        last_name=row["last_name"],
        company_name=row["company_name"],
        status=SendStatus(row["status"]),
        reason=row["reason"],
        attempts=row["attempts"],
        error=None if error == NO_ERROR else error,
        queued_at=row["queued_at"],
        sent_at=row["sent_at"],
        opened_at=row["opened_at"],
        last_opened_at=row["last_opened_at"],
        open_count=row["open_count"],
        clicked_at=row["clicked_at"],
        unsubscribed_at=row["unsubscribed_at"],
    )
