"""Resend: a FAILED or UNCONFIRMED send goes back to the queue, and its tries start again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted, lock_campaign
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class ResendCandidate:
    """The send somebody wants to go out again."""

    contact_id: str
    address: str
    status: SendStatus


_FIND = text(
    "SELECT contact_id, address, status FROM marketing_sends"
    " WHERE campaign_id = :campaign_id AND id = :send_id AND org_id = :org_id"
)


async def find_send(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, send_id: UUID
) -> ResendCandidate | None:
    """The send, or None where this organisation has no such send in this campaign."""
    row = (
        await connection.execute(_FIND, {"org_id": org_id, "campaign_id": campaign_id, "send_id": send_id})
    ).one_or_none()
    if row is None:
        return None
    return ResendCandidate(row.contact_id, row.address, SendStatus(row.status))


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
    """Queue the send again, on the CRM's word of `read_at` that it may be mailed. False where its state changed."""
    await lock_campaign(connection, campaign_id)
    moved = await connection.execute(_REQUEUE, {"campaign_id": campaign_id, "send_id": send_id, "read_at": read_at})
    return bool(moved.scalar_one())
