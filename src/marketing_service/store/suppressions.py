"""The suppression list: addresses of an organisation that must not be mailed, whatever the CRM says.

A launch (`ledger.expansion.merge`) and every mark (`marketing_commit_results_v2`) read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.addresses import MAX_ENCODED
from marketing_service.store.states import SuppressionOrigin, SuppressionReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import KeyPrefix, MailboxKey


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address on the list. `campaign_id` is the campaign whose send bounced, if a bounce was the reason."""

    id: UUID
    address: MailboxKey
    reason: SuppressionReason
    origin: SuppressionOrigin
    campaign_id: UUID | None
    note: str | None
    created_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SuppressionEntry:
    """An address to add."""

    address: MailboxKey
    note: str | None = None


_ADD = text(
    """
    INSERT INTO marketing_suppressions (org_id, address, reason, origin, campaign_id, note, created_by)
    SELECT :org_id, a.address, :reason, :origin, :campaign_id, a.note, :created_by
    FROM unnest(CAST(:addresses AS text[]), CAST(:notes AS text[])) AS a (address, note)
    ON CONFLICT (org_id, address) DO NOTHING
    """
)


async def add_suppressions(
    connection: AsyncConnection,
    *,
    org_id: str,
    entries: Sequence[SuppressionEntry],
    reason: SuppressionReason,
    origin: SuppressionOrigin,
    campaign_id: UUID | None,
    created_by: str | None,
) -> int:
    """Add the addresses; returns how many are new. An address that is on the list already does not change.

    `entries` are ordered by address: two transactions that add the same addresses then cannot deadlock.
    """
    values = {
        "org_id": org_id,
        "addresses": [entry.address for entry in entries],
        "notes": [entry.note for entry in entries],
        "reason": reason,
        "origin": origin,
        "campaign_id": campaign_id,
        "created_by": created_by,
    }
    return (await connection.execute(_ADD, values)).rowcount


_COLUMNS = "id, address, reason, origin, campaign_id, note, created_by, created_at"
_FIND = text(f"SELECT {_COLUMNS} FROM marketing_suppressions WHERE org_id = :org_id AND address = :address")
_PAGE = text(
    f"""
    SELECT {_COLUMNS} FROM marketing_suppressions
    WHERE org_id = :org_id AND (CAST(:before AS uuid) IS NULL OR id < :before)
      AND (CAST(:reasons AS text[]) IS NULL OR reason = ANY(:reasons))
      AND (starts_with(address, :plain) OR address = ANY(:others))
    ORDER BY id DESC LIMIT :limit
    """
)


async def find_suppression(connection: AsyncConnection, *, org_id: str, address: MailboxKey) -> Suppression | None:
    """The address's entry on the list, None if it has none."""
    row = (await connection.execute(_FIND, {"org_id": org_id, "address": address})).mappings().one_or_none()
    return None if row is None else _suppression(dict(row))


async def page_of_suppressions(
    connection: AsyncConnection,
    *,
    org_id: str,
    reasons: Sequence[SuppressionReason],
    search: KeyPrefix | None,
    before: UUID | None,
    limit: int,
) -> list[Suppression]:
    """Up to `limit` entries older than `before`, newest first: ids are ordered by time. `search` selects addresses."""
    others = [] if search is None else await _encoded_among(connection, org_id, search)
    values = {
        "org_id": org_id,
        "reasons": list(reasons) or None,
        "plain": "" if search is None else search.plain,
        "others": others,
        "before": before,
        "limit": limit,
    }
    return [_suppression(dict(row)) for row in (await connection.execute(_PAGE, values)).mappings()]


_ENCODED = text(
    "SELECT address FROM marketing_suppressions WHERE org_id = :org_id AND starts_with(address, :encoded)"
    " ORDER BY address LIMIT :limit"
)


async def _encoded_among(connection: AsyncConnection, org_id: str, search: KeyPrefix) -> list[MailboxKey]:
    """The addresses on the list that only `search.includes` finds, among the first `MAX_ENCODED`."""
    if search.encoded is None:
        return []
    key = {"org_id": org_id, "encoded": search.encoded, "limit": MAX_ENCODED}
    return [address for address in (await connection.execute(_ENCODED, key)).scalars() if search.includes(address)]


def _suppression(row: dict[str, Any]) -> Suppression:
    named = {"reason": SuppressionReason(row["reason"]), "origin": SuppressionOrigin(row["origin"])}
    return Suppression(**(row | named))


# A user who takes an address off the list wants it to be mailed, so its soft bounces count from zero again.
_REMOVE = text(
    """
    WITH removed AS (
        DELETE FROM marketing_suppressions WHERE org_id = :org_id AND id = :id RETURNING org_id, address
    ),
    forgotten AS (
        DELETE FROM marketing_soft_bounces b USING removed
        WHERE b.org_id = removed.org_id AND b.address = removed.address
    )
    SELECT address FROM removed
    """
)


async def remove_suppression(connection: AsyncConnection, *, org_id: str, suppression_id: UUID) -> MailboxKey | None:
    """Take the entry off the list and delete the soft bounces of its address. Returns the address; None if there is no
    such entry."""
    key = {"org_id": org_id, "id": suppression_id}
    return (await connection.execute(_REMOVE, key)).scalar_one_or_none()


_AMONG = text(
    """
    SELECT a.address FROM unnest(CAST(:addresses AS text[])) AS a (address)
    WHERE EXISTS (SELECT FROM marketing_suppressions p WHERE p.org_id = :org_id AND p.address = a.address OFFSET 0)
    """
)


async def suppressed_among(
    connection: AsyncConnection, *, org_id: str, addresses: Sequence[MailboxKey]
) -> set[MailboxKey]:
    """Those of the addresses that are on the list."""
    key = {"org_id": org_id, "addresses": list(addresses)}
    return set((await connection.execute(_AMONG, key)).scalars())
