"""Soft bounces of an address: on how many days messages could not be delivered, since the last that was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.sends import ReportedSend

# The day is read after the row is locked, so it never goes back from one report to the next.
_LOCK = text(
    """
    INSERT INTO marketing_soft_bounces AS b (org_id, address, in_a_row, last_send_id, last_at)
    VALUES (:org_id, :address, 0, :send_id, clock_timestamp())
    ON CONFLICT (org_id, address) DO UPDATE SET in_a_row = b.in_a_row
    RETURNING in_a_row, last_send_id, clock_timestamp() AS arrived_at,
        (clock_timestamp() AT TIME ZONE 'UTC')::date <> (last_at AT TIME ZONE 'UTC')::date AS on_another_day
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
    SET in_a_row = :in_a_row, last_at = :arrived_at,
        last_send_id = CASE WHEN :is_later THEN :send_id ELSE last_send_id END
    WHERE org_id = :org_id AND address = :address
    """
)


async def count_soft_bounce(connection: AsyncConnection, send: ReportedSend) -> int:
    """Record one more soft bounce of the send's address; returns on how many days it has bounced in a row now.

    A day is a UTC day on which a report arrived, by the clock of the database. Bounces on one day count once: several
    campaigns on a day find the same full mailbox. A delivered message in between starts the count again. What is in
    between follows the order of the launches, not of the reports. A second bounce of the same send, after a resend,
    does not count again.
    """
    key = {"org_id": send.org_id, "address": send.address, "send_id": send.id}
    before = (await connection.execute(_LOCK, key)).one()
    days, is_later = before.in_a_row, True
    if days == 0:
        days = 1
    elif before.last_send_id == send.id:
        return int(days)
    else:
        others = {"campaign_id": send.campaign_id, "last_send_id": before.last_send_id}
        since = (await connection.execute(_SINCE_THE_LAST, key | others)).one()
        is_later = since.is_later
        if since.delivered_between and not is_later:
            return int(days)
        days = 1 if since.delivered_between else days + before.on_another_day
    values = {"in_a_row": days, "arrived_at": before.arrived_at, "is_later": is_later}
    await connection.execute(_COUNT, key | values)
    return int(days)
