"""The engagement with a campaign: clicks by link, events over time; and why sends were not delivered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.store import timeline as store
from marketing_service.store.clicks import links_of
from marketing_service.store.reasons import reasons_of
from marketing_service.store.timeline import Happened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from marketing_service.db import Transaction
    from marketing_service.store.clicks import LinkStats
    from marketing_service.store.reasons import ReasonCount

BUCKET_SECONDS = (60, 300, 900, 3600, 21_600, 86_400, 604_800)
"""The sizes of a timeline bucket in seconds: from a minute to a week."""

_NOTHING = Happened()


@dataclass(frozen=True, slots=True)
class Timeline:
    """The events, in buckets without gaps from the minute of the launch on. `start` is None before the launch."""

    start: datetime | None
    bucket_seconds: int
    buckets: Sequence[tuple[datetime, Happened]]


async def reasons(tx: Transaction, org_id: str, campaign_id: UUID) -> Sequence[ReasonCount]:
    """Why sends of the campaign failed, were skipped or are deferred, the most frequent reason first. Raises
    NotFound."""
    await drafts.stats(tx, org_id, campaign_id)
    return await reasons_of(tx.connection, campaign_id)


async def links(tx: Transaction, org_id: str, campaign_id: UUID) -> Sequence[LinkStats]:
    """The tracked links of the campaign, by number. Raises NotFound."""
    await drafts.stats(tx, org_id, campaign_id)
    return await links_of(tx.connection, campaign_id)


async def timeline(tx: Transaction, org_id: str, campaign_id: UUID, *, max_buckets: int) -> Timeline:
    """The timeline of the campaign up to the last event, in the smallest bucket size that needs at most `max_buckets`.
    If weeks need more, there are more. Raises NotFound."""
    launched_at = (await drafts.stats(tx, org_id, campaign_id)).launched_at
    if launched_at is None:
        return Timeline(None, BUCKET_SECONDS[0], ())
    start = launched_at.replace(second=0, microsecond=0)
    last = await store.last_minute(tx.connection, campaign_id)
    seconds, count = _buckets(0 if last is None else max(0, int((last - start).total_seconds())), max_buckets)
    found = await store.buckets(tx.connection, campaign_id, start=start, seconds=seconds)
    return Timeline(
        start,
        seconds,
        [(start + timedelta(seconds=seconds * number), found.get(number, _NOTHING)) for number in range(count)],
    )


def _buckets(until: int, max_buckets: int) -> tuple[int, int]:
    """The bucket size in seconds and the number of buckets. The last one contains the second `until`, counted from
    0."""
    for seconds in BUCKET_SECONDS:
        if until // seconds < max_buckets:
            return seconds, until // seconds + 1
    return BUCKET_SECONDS[-1], until // BUCKET_SECONDS[-1] + 1
