"""The timeline of a campaign: what happened to its sends in each minute, summed up in buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Happened:
    """How many sends were delivered, opened, clicked and unsubscribed. A send counts once, in its first such minute."""

    delivered: int = 0
    opens: int = 0
    clicks: int = 0
    unsubscribes: int = 0


_LAST = text("SELECT max(minute) FROM marketing_timeline WHERE campaign_id = :campaign_id")


async def last_minute(connection: AsyncConnection, campaign_id: UUID) -> datetime | None:
    """The last minute in which something happened; None if nothing has happened yet."""
    last: datetime | None = (await connection.execute(_LAST, {"campaign_id": campaign_id})).scalar_one()
    return last


_LAST_DELIVERY = text("SELECT max(minute) FROM marketing_timeline WHERE campaign_id = :campaign_id AND delivered > 0")


async def last_delivery(connection: AsyncConnection, campaign_id: UUID) -> datetime | None:
    """The last minute in which a send was delivered; None if there is none. Reads the minutes after it."""
    last: datetime | None = (await connection.execute(_LAST_DELIVERY, {"campaign_id": campaign_id})).scalar_one()
    return last


_BUCKETS = text(
    """
    SELECT CAST(floor(extract(epoch FROM minute - :start) / :seconds) AS int) AS bucket,
           sum(delivered) AS delivered, sum(opens) AS opens, sum(clicks) AS clicks, sum(unsubscribes) AS unsubscribes
    FROM marketing_timeline WHERE campaign_id = :campaign_id AND minute >= :start GROUP BY bucket
    """
)


async def buckets(
    connection: AsyncConnection, campaign_id: UUID, *, start: datetime, seconds: int
) -> dict[int, Happened]:
    """What happened from `start`, a whole minute, on: by the number of the bucket, from 0, without empty buckets.

    `seconds` is the length of a bucket. Reads one row per minute in which something happened, however many sends the
    campaign has.
    """
    key = {"campaign_id": campaign_id, "start": start, "seconds": seconds}
    rows = await connection.execute(_BUCKETS, key)
    return {row.bucket: Happened(row.delivered, row.opens, row.clicks, row.unsubscribes) for row in rows}
