"""Resend: a FAILED or UNCONFIRMED send is queued again, and its tries start again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_REQUEUE = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET status = 'QUEUED', reason = NULL, smtp_code = NULL, enhanced_code = NULL, error_message = NULL,
            batch = NULL, due_at = clock_timestamp(), queued_at = clock_timestamp(), tries = 0,
            consent_read_at = :read_at
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.status IN ('FAILED', 'UNCONFIRMED')
        RETURNING {MOVED}
    )
    """
)


async def requeue(connection: AsyncConnection, *, campaign_id: UUID, send_id: UUID, read_at: datetime) -> bool:
    """Queue the send again. At `read_at` the CRM said that the contact may be mailed. False if the send is not FAILED
    or UNCONFIRMED any more."""
    await lock_campaign(connection, campaign_id)
    moved = await connection.execute(_REQUEUE, {"campaign_id": campaign_id, "send_id": send_id, "read_at": read_at})
    return bool(moved.scalar_one())
