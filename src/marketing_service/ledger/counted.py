"""The one way to move sends: a statement that moves rows also moves the campaign's counters, and its state.

Whoever moves rows holds the campaign's row lock first (`lock_campaign`). So movers of one campaign come one
after the other, each seeing what the last committed, and none can deadlock with another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.states import CampaignStatus, SendStatus

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class LockedCampaign:
    """What the ledger must know of a campaign before it moves its rows."""

    id: UUID
    org_id: str
    status: CampaignStatus
    expanded_at: datetime | None
    paused_at: datetime | None
    cancelled_at: datetime | None

    @property
    def may_mark(self) -> bool:
        return self.status is CampaignStatus.SENDING and self.expanded_at is not None and self.paused_at is None


_LOCK = text(
    "SELECT id, org_id, status, expanded_at, paused_at, cancelled_at FROM marketing_campaigns"
    " WHERE id = :campaign_id FOR NO KEY UPDATE"
)


async def lock_campaign(connection: AsyncConnection, campaign_id: UUID) -> LockedCampaign | None:
    """Lock the campaign's row until the transaction ends; None where there is none (or it is not ours to see)."""
    row = (await connection.execute(_LOCK, {"campaign_id": campaign_id})).one_or_none()
    if row is None:
        return None
    return LockedCampaign(
        row.id, row.org_id, CampaignStatus(row.status), row.expanded_at, row.paused_at, row.cancelled_at
    )


def _change(counter: str) -> str:
    value = counter.upper()
    return f"count(*) FILTER (WHERE now_is = '{value}') - count(*) FILTER (WHERE was = '{value}') AS {counter}"


_COUNTERS = [status.value.lower() for status in SendStatus]
_DUE = " + ".join(f"c.{counter} + tally.{counter}" for counter in ("queued", "sending", "deferred"))

_COUNTED = f"""
tally AS (
    SELECT {", ".join(_change(counter) for counter in _COUNTERS)},
           count(*) FILTER (WHERE opened AND NOT was_open) AS opens,
           count(*) FILTER (WHERE opened AND now_is = 'DELIVERED')
               - count(*) FILTER (WHERE was_open AND was = 'DELIVERED') AS opens_delivered
    FROM moved
),
counted AS (
    UPDATE marketing_campaigns c
    SET {", ".join(f"{counter} = c.{counter} + tally.{counter}" for counter in _COUNTERS)},
        opens = c.opens + tally.opens,
        opens_delivered = c.opens_delivered + tally.opens_delivered,
        status = CASE WHEN {_DUE} = 0 THEN 'SENT' ELSE 'SENDING' END,
        sent_at = CASE WHEN {_DUE} = 0 THEN coalesce(c.sent_at, now()) ELSE c.sent_at END,
        paused_at = CASE WHEN {_DUE} = 0 THEN NULL ELSE c.paused_at END,
        pause_reason = CASE WHEN {_DUE} = 0 THEN NULL ELSE c.pause_reason END
    FROM tally
    WHERE c.id = :campaign_id AND EXISTS (SELECT FROM moved)
    RETURNING c.id
)
"""


MOVED = (
    "old.status AS was, new.status AS now_is, old.opened_at IS NOT NULL AS was_open, "
    "new.opened_at IS NOT NULL AS opened"
)
"""What an UPDATE of marketing_sends must return to be counted."""


def counted(moves: str, answer: str = "SELECT count(*) FROM moved") -> TextClause:
    """The statement that makes `moves` and counts them.

    `moves` is a list of common table expressions, the last of them called `moved` with the columns of MOVED;
    `:campaign_id` names the campaign, whose list must stand. `answer` is the final SELECT.
    """
    return text(f"WITH {moves}, {_COUNTED} {answer}")
