"""Soft bounces of an address: how many messages in a row could not be delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.sends import ReportedSend

_LOCK = text(
    """
    INSERT INTO marketing_soft_bounces AS b (org_id, address, in_a_row, last_send_id)
    VALUES (:org_id, :address, 0, :send_id)
    ON CONFLICT (org_id, address) DO UPDATE SET last_at = clock_timestamp()
    RETURNING in_a_row, last_send_id
    """
)
# Whether this send's campaign is the later one, and whether a campaign launched between the two was delivered.
_SINCE_THE_LAST = text(
    """
    SELECT this.launched_at >= last.launched_at AS is_later, EXISTS (
        SELECT FROM marketing_campaigns c
        JOIN marketing_sends s ON s.campaign_id = c.id AND s.address = :address AND s.status = 'DELIVERED'
        WHERE c.org_id = :org_id AND c.launched_at > least(this.launched_at, last.launched_at)
          AND c.launched_at < greatest(this.launched_at, last.launched_at)
    ) AS delivered_between
    FROM marketing_campaigns this, marketing_campaigns last
    JOIN marketing_sends last_send ON last_send.campaign_id = last.id
    WHERE this.id = :campaign_id AND last_send.id = :last_send_id
    """
)
_COUNT = text(
    """
    UPDATE marketing_soft_bounces
    SET in_a_row = :in_a_row, last_send_id = CASE WHEN :is_later THEN :send_id ELSE last_send_id END
    WHERE org_id = :org_id AND address = :address
    """
)


async def count_soft_bounce(connection: AsyncConnection, send: ReportedSend) -> int:
    """Count one more soft bounce of the send's address; returns how many there are in a row now.

    The order is that of the launches, not of the reports. A second bounce of the same send, after a resend, does not
    count again.
    """
    key = {"org_id": send.org_id, "address": send.address, "send_id": send.id}
    before = (await connection.execute(_LOCK, key)).one()
    in_a_row, is_later = before.in_a_row, True
    if in_a_row == 0:
        in_a_row = 1
    elif before.last_send_id != send.id:
        others = {"campaign_id": send.campaign_id, "last_send_id": before.last_send_id}
        since = (await connection.execute(_SINCE_THE_LAST, key | others)).one()
        is_later = since.is_later
        if not since.delivered_between:
            in_a_row += 1
        elif is_later:
            in_a_row = 1
    await connection.execute(_COUNT, key | {"in_a_row": in_a_row, "is_later": is_later})
    return int(in_a_row)
