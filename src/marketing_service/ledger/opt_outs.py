"""An opt-out: it is recorded, and what waits for its address is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.opt_outs import add_opt_out
from marketing_service.store.rules import is_waiting, proves_delivery
from marketing_service.store.states import SkipReason

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey

_OTHER_CAMPAIGNS = text(
    """
    SELECT c.id FROM marketing_campaigns c
    WHERE c.org_id = :org_id AND c.status = 'SENDING' AND c.id <> :campaign_id AND EXISTS (
        SELECT FROM marketing_sends s WHERE s.campaign_id = c.id AND s.address = :address)
    """
)
_SKIP = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET status = 'SKIPPED', reason = '{SkipReason.OPTED_OUT}', due_at = NULL
        WHERE s.campaign_id = :campaign_id AND s.address = :address AND {is_waiting("s")}
        RETURNING {MOVED}
    )
    """
)
# A person who follows the link of an UNCONFIRMED send has received it.
_NOTE = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET unsubscribed_at = coalesce(s.unsubscribed_at, clock_timestamp()), {proves_delivery("s")}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id
        RETURNING {MOVED}
    )
    """
)


async def record_opt_out(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, send_id: UUID, address: MailboxKey
) -> None:
    """Record that the address wants no more mail, and skip what waits for it in every campaign that is SENDING."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "send_id": send_id, "address": address}
    await add_opt_out(connection, org_id=org_id, campaign_id=campaign_id, address=address)
    others = (await connection.execute(_OTHER_CAMPAIGNS, key)).scalars()
    # Always in the order of their ids, so that two opt-outs cannot deadlock.
    for locked in sorted({campaign_id, *others}):
        await lock_campaign(connection, locked)
        await connection.execute(_SKIP, {"campaign_id": locked, "address": address})
    await connection.execute(_NOTE, key)
