"""Expired leases: the claims of a process that ended, or lost its connection, are settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.rules import has_unsettled_sends

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

# OFFSET 0: the leases that have run out are few, and their index finds them; the campaign may have many batches.
_SETTLE_BATCHES = text(
    """
    UPDATE marketing_batches b SET epoch = b.epoch + 1, lease_until = NULL, enqueued_at = NULL
    FROM (SELECT campaign_id, number FROM marketing_batches WHERE lease_until < clock_timestamp() OFFSET 0) AS expired
    WHERE b.campaign_id = :campaign_id AND expired.campaign_id = b.campaign_id AND expired.number = b.number
      AND b.lease_until < clock_timestamp()
    RETURNING b.number
    """
)
_SETTLE_SENDS = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET status = 'UNCONFIRMED', unconfirmed_at = clock_timestamp(),
            error_message = 'The sending process ended before the relay''s reply was recorded.'
        WHERE campaign_id = :campaign_id AND batch = ANY(CAST(:numbers AS int[])) AND status = 'SENDING'
        RETURNING {MOVED}, s.id
    )
    """,
    "SELECT id FROM moved",
)
_DROP_EMPTY = text(
    f"""
    DELETE FROM marketing_batches b
    WHERE campaign_id = :campaign_id AND number = ANY(CAST(:numbers AS int[])) AND NOT {has_unsettled_sends("b")}
    """
)


async def settle_expired(connection: AsyncConnection, campaign_id: UUID) -> list[UUID]:
    """End the claims of one campaign whose lease has run out; returns the sends that became UNCONFIRMED.

    The process may have submitted every send that it had marked, and its results are lost: those sends become
    UNCONFIRMED. The other sends of the batch wait to be enqueued again.
    """
    await lock_campaign(connection, campaign_id)
    numbers = list((await connection.execute(_SETTLE_BATCHES, {"campaign_id": campaign_id})).scalars())
    key = {"campaign_id": campaign_id, "numbers": numbers}
    unconfirmed = list((await connection.execute(_SETTLE_SENDS, key)).scalars())
    await connection.execute(_DROP_EMPTY, key)
    return unconfirmed
