"""Opens: unique per send; later loads only move the count and the last moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counted import MOVED, counted, lock_campaign

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

# Needs no lock on the campaign: no counter moves.
_AGAIN = text(
    """
    UPDATE marketing_sends SET open_count = open_count + 1, last_opened_at = clock_timestamp()
    WHERE id = :send_id AND opened_at IS NOT NULL AND status <> 'UNCONFIRMED'
    """
)
_CAMPAIGN = text("SELECT campaign_id FROM marketing_sends WHERE id = :send_id")
# An open of an UNCONFIRMED send proves that it arrived.
_OPEN = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET opened_at = coalesce(s.opened_at, clock_timestamp()), last_opened_at = clock_timestamp(),
            open_count = s.open_count + 1,
            status = CASE s.status WHEN 'UNCONFIRMED' THEN 'DELIVERED' ELSE s.status END,
            sent_at = CASE s.status WHEN 'UNCONFIRMED' THEN coalesce(s.sent_at, s.marked_at) ELSE s.sent_at END
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id
        RETURNING {MOVED}
    )
    """
)


async def record_open(connection: AsyncConnection, send_id: UUID) -> bool:
    """Count one load of a send's pixel. False where there is no such send."""
    if (await connection.execute(_AGAIN, {"send_id": send_id})).rowcount:
        return True
    campaign_id = (await connection.execute(_CAMPAIGN, {"send_id": send_id})).scalar_one_or_none()
    if campaign_id is None:
        return False
    await lock_campaign(connection, campaign_id)
    await connection.execute(_OPEN, {"campaign_id": campaign_id, "send_id": send_id})
    return True
