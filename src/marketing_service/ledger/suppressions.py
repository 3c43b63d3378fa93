"""The suppression list: addresses of an organisation that are not to be mailed, whatever the CRM says.

A launch and every marking consult it (the merge, `marketing_record_and_mark`). Whoever adds to it locks the campaigns
being sent first, in the order of their ids, and only then inserts, so that nobody waits for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted, lock_campaign
from marketing_service.store.states import SkipReason, SuppressionOrigin, SuppressionReason

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that is not to be mailed. `campaign_id` is that of the send that bounced, where one did."""

    id: UUID
    address: str
    reason: SuppressionReason
    origin: SuppressionOrigin
    campaign_id: UUID | None
    note: str | None
    created_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """An address to be added, in its normal form."""

    address: str
    note: str | None = None


_WAITING = text(
    """
    SELECT c.id FROM marketing_campaigns c
    WHERE c.org_id = :org_id AND c.status = 'SENDING' AND EXISTS (
        SELECT FROM unnest(CAST(:addresses AS text[])) AS a (address)
        JOIN marketing_sends s ON s.campaign_id = c.id AND s.address = a.address
        WHERE s.status IN ('QUEUED', 'DEFERRED'))
    """
)
_SKIP = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET status = 'SKIPPED', reason = '{SkipReason.SUPPRESSED}', due_at = NULL
        WHERE s.campaign_id = :campaign_id AND s.address = ANY(:addresses) AND s.status IN ('QUEUED', 'DEFERRED')
        RETURNING {MOVED}
    )
    """
)
_ADD = text(
    """
    INSERT INTO marketing_suppressions (org_id, address, reason, origin, campaign_id, note, created_by)
    SELECT :org_id, a.address, :reason, :origin, :campaign_id, a.note, :created_by
    FROM unnest(CAST(:addresses AS text[]), CAST(:notes AS text[])) AS a (address, note)
    ON CONFLICT (org_id, address) DO NOTHING
    """
)


async def lock_waiting(
    connection: AsyncConnection, *, org_id: str, addresses: Collection[str], and_campaigns: Collection[UUID] = ()
) -> list[UUID]:
    """Lock the campaigns being sent in which something waits for these addresses, and those named; their ids."""
    found = (await connection.execute(_WAITING, {"org_id": org_id, "addresses": list(addresses)})).scalars()
    locked = sorted({*found, *and_campaigns})
    for campaign_id in locked:
        await lock_campaign(connection, campaign_id)
    return locked


async def suppress(
    connection: AsyncConnection,
    *,
    org_id: str,
    entries: Sequence[Entry],
    reason: SuppressionReason,
    origin: SuppressionOrigin,
    locked: Sequence[UUID],
    campaign_id: UUID | None = None,
    created_by: str | None = None,
) -> int:
    """Add the addresses, and skip what waits for them in the campaigns `lock_waiting` has locked; how many are new.

    Of one that is there already nothing changes.
    """
    # In the same order everywhere, so that two that add the same ones do not wait for each other.
    ordered = sorted({entry.address: entry for entry in entries}.values(), key=lambda entry: entry.address)
    addresses = [entry.address for entry in ordered]
    added = await connection.execute(
        _ADD,
        {
            "org_id": org_id,
            "addresses": addresses,
            "notes": [entry.note for entry in ordered],
            "reason": reason,
            "origin": origin,
            "campaign_id": campaign_id,
            "created_by": created_by,
        },
    )
    for campaign in locked:
        await connection.execute(_SKIP, {"campaign_id": campaign, "addresses": addresses})
    return added.rowcount


_COLUMNS = "id, address, reason, origin, campaign_id, note, created_by, created_at"
_FIND = text(f"SELECT {_COLUMNS} FROM marketing_suppressions WHERE org_id = :org_id AND address = :address")
_PAGE = text(
    f"""
    SELECT {_COLUMNS} FROM marketing_suppressions
    WHERE org_id = :org_id AND (CAST(:before AS uuid) IS NULL OR id < :before)
      AND (CAST(:reasons AS text[]) IS NULL OR reason = ANY(:reasons))
      AND starts_with(address, :prefix)
    ORDER BY id DESC LIMIT :most
    """
)


async def find_suppression(connection: AsyncConnection, *, org_id: str, address: str) -> Suppression | None:
    """The address's place on the list, None where it has none."""
    row = (await connection.execute(_FIND, {"org_id": org_id, "address": address})).mappings().one_or_none()
    return None if row is None else _suppression(dict(row))


async def page_of_suppressions(
    connection: AsyncConnection,
    *,
    org_id: str,
    reasons: Sequence[SuppressionReason],
    prefix: str,
    before: UUID | None,
    most: int,
) -> list[Suppression]:
    """Up to `most`, the newest first (ids are ordered by time), of those older than `before`."""
    values = {
        "org_id": org_id,
        "reasons": list(reasons) or None,
        "prefix": prefix,
        "before": before,
        "most": most,
    }
    return [_suppression(dict(row)) for row in (await connection.execute(_PAGE, values)).mappings()]


def _suppression(row: dict[str, Any]) -> Suppression:
    named = {"reason": SuppressionReason(row["reason"]), "origin": SuppressionOrigin(row["origin"])}
    return Suppression(**(row | named))


# Whoever takes an address off the list wants it to be mailed, so it begins anew.
_REMOVE = text(
    """
    WITH removed AS (
        DELETE FROM marketing_suppressions WHERE org_id = :org_id AND id = :id RETURNING org_id, address
    ),
    forgotten AS (
        DELETE FROM marketing_soft_bounces b USING removed
        WHERE b.org_id = removed.org_id AND b.address = removed.address
    )
    SELECT count(*) FROM removed
    """
)


async def remove_suppression(connection: AsyncConnection, *, org_id: str, suppression_id: UUID) -> bool:
    """Take it off the list, and forget the soft bounces before it. False where it is not there."""
    key = {"org_id": org_id, "id": suppression_id}
    return bool((await connection.execute(_REMOVE, key)).scalar_one())


_AMONG = text("SELECT address FROM marketing_suppressions WHERE org_id = :org_id AND address = ANY(:addresses)")


async def suppressed_among(connection: AsyncConnection, *, org_id: str, addresses: Sequence[str]) -> set[str]:
    """Those of the addresses that are on the list."""
    key = {"org_id": org_id, "addresses": list(addresses)}
    return set((await connection.execute(_AMONG, key)).scalars())
