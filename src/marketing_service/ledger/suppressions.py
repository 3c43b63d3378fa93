"""Suppressing addresses: they are added to the list, and what waits for them is skipped.

The campaigns in which sends wait are locked first, in the order of their ids, and the addresses are added after that,
so that two transactions that add addresses cannot deadlock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.rules import is_waiting
from marketing_service.store.states import SkipReason
from marketing_service.store.suppressions import add_suppressions

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey
    from marketing_service.store.states import SuppressionOrigin, SuppressionReason
    from marketing_service.store.suppressions import SuppressionEntry

_CAMPAIGNS = text(
    f"""
    SELECT c.id FROM marketing_campaigns c
    WHERE c.org_id = :org_id AND c.status = 'SENDING' AND EXISTS (
        SELECT FROM unnest(CAST(:addresses AS text[])) AS a (address)
        JOIN marketing_sends s ON s.campaign_id = c.id AND s.address = a.address
        WHERE {is_waiting("s")})
    """
)
_SKIP = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET status = 'SKIPPED', reason = '{SkipReason.SUPPRESSED}', due_at = NULL
        WHERE s.campaign_id = :campaign_id AND s.address = ANY(:addresses) AND {is_waiting("s")}
        RETURNING {MOVED}
    )
    """
)


async def lock_campaigns_waiting_for(
    connection: AsyncConnection, *, org_id: str, addresses: Collection[MailboxKey], and_campaigns: Collection[UUID] = ()
) -> list[UUID]:
    """Lock the SENDING campaigns in which sends wait for these addresses, and the named ones; returns their ids."""
    found = (await connection.execute(_CAMPAIGNS, {"org_id": org_id, "addresses": list(addresses)})).scalars()
    locked = sorted({*found, *and_campaigns})
    for campaign_id in locked:
        await lock_campaign(connection, campaign_id)
    return locked


async def suppress(
    connection: AsyncConnection,
    *,
    org_id: str,
    entries: Sequence[SuppressionEntry],
    reason: SuppressionReason,
    origin: SuppressionOrigin,
    locked: Sequence[UUID],
    campaign_id: UUID | None = None,
    created_by: str | None = None,
) -> int:
    """Add the addresses, and skip what waits for them in the campaigns that `lock_campaigns_waiting_for` has locked.
    Returns how many addresses are new; an address that is on the list already does not change."""
    ordered = sorted({entry.address: entry for entry in entries}.values(), key=lambda entry: entry.address)
    added = await add_suppressions(
        connection,
        org_id=org_id,
        entries=ordered,
        reason=reason,
        origin=origin,
        campaign_id=campaign_id,
        created_by=created_by,
    )
    addresses = [entry.address for entry in ordered]
    for campaign in locked:
        await connection.execute(_SKIP, {"campaign_id": campaign, "addresses": addresses})
    return added
