"""The comparison of a campaign's counters with its sends, and their correction.

Every statement moves counters and sends in one transaction, so they never differ. A restored copy that was made of
several backups, or a change by hand, can make them differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from marketing_service.ledger.counters import COUNTERS, state_when
from marketing_service.ledger.reasons import COUNTED_REASONS
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.reasons import KEY
from marketing_service.store.rules import unsettled_count

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_NAMES = ("recipients", *COUNTERS)
_COUNTS = "count(*) AS recipients, " + ", ".join(
    f"count(*) FILTER (WHERE {condition.format(row='s')}) AS {name}" for name, condition in COUNTERS.items()
)
# One statement sees one moment, so that it needs no lock: at no moment do counters and sends differ.
_COMPARE = text(
    f"""
    SELECT {", ".join(f"c.{name} AS {name}, counted.{name} AS counted_{name}" for name in _NAMES)}
    FROM marketing_campaigns c
    CROSS JOIN LATERAL (SELECT {_COUNTS} FROM marketing_sends s WHERE s.campaign_id = c.id) AS counted
    WHERE c.id = :campaign_id
    """
)
# The state depends on the new counters, and an UPDATE sees only the old ones.
_CORRECT = text(
    f"""
    UPDATE marketing_campaigns c
    SET {", ".join(f"{name} = counted.{name}" for name in _NAMES)},
        {state_when(f"{unsettled_count('counted')} = 0")}
    FROM (SELECT {_COUNTS} FROM marketing_sends s WHERE s.campaign_id = :campaign_id) AS counted
    WHERE c.id = :campaign_id
    """
)
# The rows of both sides, by the name that `differences` gives a reason.
_REASON = "concat_ws(' ', status, nullif(reason, ''), nullif(smtp_code, 0), nullif(enhanced_code, ''))"
_COMPARE_REASONS = text(
    f"""
    WITH counted AS {COUNTED_REASONS}
    SELECT {_REASON} AS name, coalesce(r.sends, 0) AS counter, coalesce(counted.sends, 0) AS sends
    FROM (SELECT * FROM marketing_reasons WHERE campaign_id = :campaign_id) AS r
    FULL JOIN counted USING ({", ".join(KEY)})
    WHERE coalesce(r.sends, 0) <> coalesce(counted.sends, 0)
    ORDER BY name
    """
)
_DELETE_REASONS = text("DELETE FROM marketing_reasons WHERE campaign_id = :campaign_id")
_INSERT_REASONS = text(
    f"""
    INSERT INTO marketing_reasons (org_id, campaign_id, {", ".join(KEY)}, sends)
    SELECT c.org_id, c.id, {", ".join(f"counted.{column}" for column in (*KEY, "sends"))}
    FROM {COUNTED_REASONS} AS counted, marketing_campaigns c WHERE c.id = :campaign_id
    """
)
_EXPANDED = text("SELECT id FROM marketing_campaigns WHERE expanded_at IS NOT NULL ORDER BY id")


class Difference(NamedTuple):
    """One counter of a campaign: what it says, and how many sends there are."""

    counter: int
    sends: int


async def expanded_campaigns(connection: AsyncConnection) -> list[UUID]:
    """The campaigns of every organisation that have sends. Needs the role of the workers."""
    return list((await connection.execute(_EXPANDED)).scalars())


async def differences(connection: AsyncConnection, campaign_id: UUID) -> Mapping[str, Difference] | None:
    """The counters and the reasons that differ from the sends, by name; None if there is no such campaign. Reads all
    its sends twice."""
    row = (await connection.execute(_COMPARE, {"campaign_id": campaign_id})).mappings().one_or_none()
    if row is None:
        return None
    found = {name: Difference(row[name], row[f"counted_{name}"]) for name in _NAMES}
    differing = {name: difference for name, difference in found.items() if difference.counter != difference.sends}
    reasons = await connection.execute(_COMPARE_REASONS, {"campaign_id": campaign_id})
    return differing | {row.name: Difference(row.counter, row.sends) for row in reasons}


async def correct(connection: AsyncConnection, campaign_id: UUID) -> None:
    """Set the counters and the reasons to the numbers of sends, and the state that follows from them. Nothing moves a
    send of the campaign meanwhile."""
    await lock_campaign(connection, campaign_id)
    for statement in (_CORRECT, _DELETE_REASONS, _INSERT_REASONS):
        await connection.execute(statement, {"campaign_id": campaign_id})
