"""The audit trail: who did what in an organisation, written in the transaction of the act. Entries never change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import insert, literal, select

from marketing_service.auth.principal import RESERVED_SUBJECT
from marketing_service.store.page import Page
from marketing_service.store.tables import campaigns
from marketing_service.store.tables_audit import audit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

MAX_READ = 20_000
"""The number of entries that one page reads at most. A page with a filter that fits few entries ends there."""

# The first 48 bits of a version 7 UUID are its milliseconds (RFC 9562 §5.7).
_TIME_SHIFT = 80
# An id and the time of the same entry are two readings of the clock.
_CLOCK_LEEWAY = timedelta(seconds=1)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class Action(StrEnum):
    """What was done."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    CHECKED = "checked"
    TESTED = "tested"
    SCHEDULED = "scheduled"
    UNSCHEDULED = "unscheduled"
    SCHEDULE_FAILED = "schedule-failed"
    LAUNCHED = "launched"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    RESENT = "resent"
    RESEND_FINISHED = "resend-finished"
    EXPORTED = "exported"
    SUPPRESSED = "suppressed"
    UNSUPPRESSED = "unsuppressed"
    IMPORTED = "imported"
    IMPORT_FINISHED = "import-finished"


SYSTEM = RESERVED_SUBJECT
"""The actor of what the service does by itself. No access token may have this subject."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the subject of an access token, for its organisation."""

    org_id: str
    subject: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `action` is text, because a newer version of the service may have written an action unknown here."""

    id: UUID
    at: datetime
    actor: str
    action: str
    campaign_id: UUID | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects entries by actor, action (empty: any), campaign, and time (`since` is included)."""

    actor: str | None = None
    actions: Collection[Action] = ()
    campaign_id: UUID | None = None
    since: datetime | None = None


async def add_entry(
    connection: AsyncConnection, actor: Actor, action: Action, campaign_id: UUID | None, details: Mapping[str, Any]
) -> None:
    """Record an act in the transaction of the act."""
    entry = {"org_id": actor.org_id, "actor": actor.subject, "action": action, "campaign_id": campaign_id}
    # `inline`: without RETURNING, for which a worker has no right.
    await connection.execute(insert(audit).values(**entry, details=dict(details)).inline())


async def add_system_entries(
    connection: AsyncConnection, action: Action, campaign_ids: Collection[UUID], details: Mapping[str, Any]
) -> None:
    """Record what the service itself did to each of these campaigns."""
    if not campaign_ids:
        return
    entries = select(
        campaigns.c.org_id,
        literal(SYSTEM),
        literal(action.value),
        campaigns.c.id,
        literal(dict(details), audit.c.details.type),
    ).where(campaigns.c.id.in_(campaign_ids))
    columns = ["org_id", "actor", "action", "campaign_id", "details"]
    await connection.execute(insert(audit).from_select(columns, entries))


async def page_of_entries(
    connection: AsyncConnection,
    org_id: str,
    *,
    only: AuditFilter,
    before: UUID | None,
    limit: int,
    max_read: int = MAX_READ,
) -> Page[AuditEntry, UUID]:
    """At most `limit` entries older than `before`, newest first: ids are ordered by time. Reads at most `max_read`
    entries, so a page can have fewer items, or none, and still be followed by another one."""
    read = _readable(org_id, only, before).order_by(audit.c.id.desc())
    window = read.limit(max_read).subquery()
    found = select(window).order_by(window.c.id.desc()).limit(limit + 1)
    if only.actor is not None:
        found = found.where(window.c.actor == only.actor)
    if only.actions:
        found = found.where(window.c.action.in_(only.actions))
    rows = (await connection.execute(found)).all()
    items = [AuditEntry(row.id, row.at, row.actor, row.action, row.campaign_id, row.details) for row in rows[:limit]]
    if len(rows) > limit:
        return Page(items, items[-1].id)
    last_read = read.with_only_columns(audit.c.id).offset(max_read - 1).limit(1)
    return Page(items, (await connection.execute(last_read)).scalar_one_or_none())


def _readable(org_id: str, only: AuditFilter, before: UUID | None) -> Select[Any]:
    """What an index selects: one organisation, one campaign, a range of ids."""
    statement = select(audit).where(audit.c.org_id == org_id)
    if only.campaign_id is not None:
        statement = statement.where(audit.c.campaign_id == only.campaign_id)
    if before is not None:
        statement = statement.where(audit.c.id < before)
    if only.since is not None:
        # Neither PostgreSQL's driver nor an id can have every time of Python.
        since = min(max(only.since, _EARLIEST), _LATEST)
        statement = statement.where(audit.c.id >= _first_id(since), audit.c.at >= since)
    return statement


def _first_id(moment: datetime) -> UUID:
    """An id below those of all entries at or after the moment."""
    return UUID(int=int((moment - _CLOCK_LEEWAY).timestamp() * 1000) << _TIME_SHIFT)
