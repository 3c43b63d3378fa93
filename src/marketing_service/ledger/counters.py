"""The one way to move sends: a statement that moves rows also moves the campaign's counters, and its state.

Whoever moves rows holds the campaign's row lock first (`lock_campaign`). So movers of one campaign come one
after the other, each seeing what the last committed, and none can deadlock with another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.states import CampaignStatus, FailReason, SendStatus

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


_OPENED = "{row}.opened_at IS NOT NULL"
_BY_A_MACHINE = "{row}.machine_reason IS NOT NULL"
_DELIVERED = "{row}.status = 'DELIVERED'"

COUNTERS = {status.value.lower(): f"{{row}}.status = '{status.value}'" for status in SendStatus} | {
    "opens": _OPENED,
    "opens_delivered": f"{_OPENED} AND {_DELIVERED}",
    "machine_opens": _BY_A_MACHINE,
    "machine_opens_delivered": f"{_BY_A_MACHINE} AND {_DELIVERED}",
    "clicks": "{row}.clicked_at IS NOT NULL",
    "unsubscribes": "{row}.unsubscribed_at IS NOT NULL",
    "hard_bounces": f"{{row}}.reason IS NOT DISTINCT FROM '{FailReason.BOUNCED_HARD}'",
    "soft_bounces": f"{{row}}.reason IS NOT DISTINCT FROM '{FailReason.BOUNCED_SOFT}'",
}
"""Each counter of a campaign, and which of its sends it counts."""

TIMELINE = ("delivered", "opens", "clicks", "unsubscribes")
"""Those of which each campaign also has a count by the minute. There a delivery stays what a bounce corrects later."""


def _counts(row: str, condition: str) -> str:
    return f"CAST({condition.format(row=row)} AS int)"


MOVED = ", ".join(f"{_counts('new', counts)} - {_counts('old', counts)} AS {name}" for name, counts in COUNTERS.items())
"""What an UPDATE of marketing_sends must return to be counted: by how much each row moves each counter."""

PROVEN = """
    status = CASE s.status WHEN 'UNCONFIRMED' THEN 'DELIVERED' ELSE s.status END,
    sent_at = CASE s.status WHEN 'UNCONFIRMED' THEN coalesce(s.sent_at, s.marked_at) ELSE s.sent_at END
"""
"""What an UPDATE of marketing_sends, as `s`, sets where something proves that the message arrived."""

_IS_THROUGH = " + ".join(f"c.{name} + tally.{name}" for name in ("queued", "sending", "deferred")) + " = 0"
_NEW = {name: f"count(*) FILTER (WHERE {name} > 0)" for name in TIMELINE}

_COUNTED = f"""
tally AS (
    SELECT {", ".join(f"sum({name}) AS {name}" for name in COUNTERS)},
           {", ".join(f"{new} AS new_{name}" for name, new in _NEW.items())}
    FROM moved
    HAVING count(*) > 0
),
counted AS (
    UPDATE marketing_campaigns c
    SET {", ".join(f"{name} = c.{name} + tally.{name}" for name in COUNTERS)},
        status = CASE WHEN {_IS_THROUGH} THEN 'SENT' ELSE 'SENDING' END,
        sent_at = CASE WHEN {_IS_THROUGH} THEN coalesce(c.sent_at, now()) ELSE c.sent_at END,
        paused_at = CASE WHEN {_IS_THROUGH} THEN NULL ELSE c.paused_at END,
        pause_reason = CASE WHEN {_IS_THROUGH} THEN NULL ELSE c.pause_reason END
    FROM tally
    WHERE c.id = :campaign_id
    RETURNING c.org_id
),
charted AS (
    INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, {", ".join(TIMELINE)})
    SELECT org_id, :campaign_id, date_trunc('minute', clock_timestamp()), {", ".join(f"new_{n}" for n in TIMELINE)}
    FROM tally, counted
    WHERE greatest({", ".join(f"new_{n}" for n in TIMELINE)}) > 0
    ON CONFLICT (campaign_id, minute) DO UPDATE
    SET {", ".join(f"{name} = t.{name} + excluded.{name}" for name in TIMELINE)}
)
"""


def counted(moves: str, answer: str = "SELECT count(*) FROM moved") -> TextClause:
    """The statement that makes `moves` and counts them.

    `moves` is a list of common table expressions, the last of them called `moved` with the columns of MOVED;
    `:campaign_id` names the campaign, whose list must stand. `answer` is the final SELECT.
    """
    return text(f"WITH {moves}, {_COUNTED} {answer}")
