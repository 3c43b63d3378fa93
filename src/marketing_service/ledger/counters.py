"""A campaign's counters: what each counts, and the SQL text that moves them together with the sends.

A statement that moves sends locks the campaign's row first (`store.campaigns.lock_campaign`). Movers of one campaign
therefore run one after the other, each sees what the last one has committed, and two of them cannot deadlock.

Sends move in three ways:

* statements in Python, all made by `counted()`;
* the database functions `marketing_commit_results_v2` and `marketing_record_opens_v1`, whose text is generated from
  the same fragments (`ledger/functions.py`);
* the merge (`ledger/expansion.py`), which inserts all sends of a campaign and sets its counters for the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger import reasons
from marketing_service.store import rules
from marketing_service.store.states import FailReason, SendStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import TextClause

_OPENED = "{row}.opened_at IS NOT NULL"
_BY_A_MACHINE = "{row}.machine_reason IS NOT NULL"
_DELIVERED = "{row}.status = 'DELIVERED'"

STATES = {status.value.lower(): f"{{row}}.status = '{status.value}'" for status in SendStatus}
"""The counters of which each send is in exactly one."""

COUNTERS = STATES | {
    "opens": _OPENED,
    "opens_delivered": f"{_OPENED} AND {_DELIVERED}",
    "machine_opens": _BY_A_MACHINE,
    "machine_opens_delivered": f"{_BY_A_MACHINE} AND {_DELIVERED}",
    "clicks": "{row}.clicked_at IS NOT NULL",
    "unsubscribes": "{row}.unsubscribed_at IS NOT NULL",
    "hard_bounces": f"{{row}}.reason IS NOT DISTINCT FROM '{FailReason.BOUNCED_HARD}'",
    "soft_bounces": f"{{row}}.reason IS NOT DISTINCT FROM '{FailReason.BOUNCED_SOFT}'",
}
"""Each counter of a campaign, and the condition on a send to be counted in it."""

TIMELINE = ("delivered", "opens", "clicks", "unsubscribes")
"""The counters that the timeline also has by the minute. A bounce does not take a delivery out of the timeline."""


def deltas(names: Iterable[str] = COUNTERS) -> str:
    """What an UPDATE of marketing_sends returns: by how much each moved send moves each counter."""
    return ",\n".join(f"{_count('new', name)}\n    - {_count('old', name)} AS {name}" for name in names)


def _count(row: str, name: str) -> str:
    return f"CAST({COUNTERS[name].format(row=row)} AS int)"


def sums(names: Iterable[str] = COUNTERS) -> str:
    """The sums of the deltas, under the counters' names."""
    return ",\n".join(f"sum({name}) AS {name}" for name in names)


def firsts(names: Iterable[str] = TIMELINE) -> str:
    """How many sends each counter counts that it did not count before, as `new_...`."""
    return ",\n".join(f"count(*) FILTER (WHERE {name} > 0) AS new_{name}" for name in names)


def increments(names: Iterable[str] = COUNTERS) -> str:
    """What an UPDATE of marketing_campaigns, as `c`, sets: each counter plus its sum in `total`."""
    return ",\n".join(f"{name} = c.{name} + total.{name}" for name in names)


def state_when(is_finished: str) -> str:
    """What an UPDATE of marketing_campaigns, as `c`, sets for the campaign to be SENT exactly if it is finished.

    `sent_at` keeps the moment of the first time. A finished campaign is not paused.
    """
    return (
        f"status = CASE WHEN {is_finished} THEN 'SENT' ELSE 'SENDING' END,\n"
        f"sent_at = CASE WHEN {is_finished} THEN coalesce(c.sent_at, clock_timestamp()) ELSE c.sent_at END,\n"
        f"paused_at = CASE WHEN {is_finished} THEN NULL ELSE c.paused_at END,\n"
        f"pause_reason = CASE WHEN {is_finished} THEN NULL ELSE c.pause_reason END"
    )


def timeline_upsert(names: Iterable[str] = TIMELINE, *, org_id: str, campaign_id: str, source: str = "total") -> str:
    """Adds the `new_...` columns of `source` to the timeline's row of this minute."""
    names = tuple(names)
    new = ", ".join(f"new_{name}" for name in names)
    return (
        f"INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, {', '.join(names)})\n"
        f"SELECT {org_id}, {campaign_id}, date_trunc('minute', clock_timestamp()), {new}\n"
        f"FROM {source} WHERE greatest({new}) > 0\n"
        f"ON CONFLICT (campaign_id, minute) DO UPDATE\n"
        f"SET {', '.join(f'{name} = t.{name} + excluded.{name}' for name in names)}"
    )


MOVED = f"{deltas()},\n{reasons.MOVED_REASONS}"
"""What the UPDATE inside `counted()` returns."""

_COUNTED = f"""
total AS (
    SELECT {sums()}, {firsts()}
    FROM moved
    HAVING count(*) > 0
),
campaign_update AS (
    UPDATE marketing_campaigns c
    SET {increments()}, {state_when(f"{rules.unsettled_count('c')} + {rules.unsettled_count('total')} = 0")}
    FROM total
    WHERE c.id = :campaign_id
    RETURNING c.org_id
),
reason_move AS ({reasons.reason_moves("moved")}),
reason_update AS (
    {reasons.reasons_upsert(org_id="org_id", campaign_id="CAST(:campaign_id AS uuid)", also_from=", campaign_update")}
),
timeline_update AS (
    {timeline_upsert(org_id="org_id", campaign_id=":campaign_id", source="total, campaign_update")}
)
"""


def counted(moves: str, returning: str = "SELECT count(*) FROM moved") -> TextClause:
    """The statement that makes `moves` and counts them.

    `moves` is a list of common table expressions, one of them called `moved` with the columns of MOVED;
    `:campaign_id` names the campaign, which must be expanded. `returning` is the final SELECT.
    """
    return text(f"WITH {moves}, {_COUNTED} {returning}")
