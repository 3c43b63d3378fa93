"""Resend: a FAILED or UNCONFIRMED send is queued again, and its tries start again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

RESENDABLE = (SendStatus.FAILED, SendStatus.UNCONFIRMED)

# OFFSET 0: each of these sends is looked up by its id, however few the planner expects.
_REQUEUE = counted(
    f"""
    wanted AS (SELECT unnest(CAST(:send_ids AS uuid[])) AS id OFFSET 0),
    moved AS (
        UPDATE marketing_sends s
        SET status = 'QUEUED', reason = NULL, smtp_code = NULL, enhanced_code = NULL, error_message = NULL,
            batch = NULL, due_at = clock_timestamp(), queued_at = clock_timestamp(), tries = 0,
            consent_read_at = :read_at
        FROM wanted
        WHERE s.id = wanted.id AND s.campaign_id = :campaign_id AND s.status = ANY(CAST(:statuses AS text[]))
        RETURNING {MOVED}
    )
    """
)


async def requeue_all(
    connection: AsyncConnection,
    *,
    campaign_id: UUID,
    send_ids: Sequence[UUID],
    statuses: Collection[SendStatus] = RESENDABLE,
    read_at: datetime,
) -> int:
    """Queue the sends again that still have one of these states; returns how many. At `read_at` the CRM said that their
    contacts may be mailed."""
    await lock_campaign(connection, campaign_id)
    values = {
        "campaign_id": campaign_id,
        "send_ids": list(send_ids),
        "statuses": [status.value for status in statuses],
        "read_at": read_at,
    }
    return int((await connection.execute(_REQUEUE, values)).scalar_one())


async def requeue(connection: AsyncConnection, *, campaign_id: UUID, send_id: UUID, read_at: datetime) -> bool:
    """As `requeue_all`, for one send. False if it is not FAILED or UNCONFIRMED any more."""
    return await requeue_all(connection, campaign_id=campaign_id, send_ids=(send_id,), read_at=read_at) == 1
