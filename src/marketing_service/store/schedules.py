"""Schedules: drafts that are launched by themselves at a time. All times are read from PostgreSQL's clock, so that it
does not matter whether the clocks of the processes are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.campaigns import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.states import ScheduleProblem

_CLOCK = text("SELECT clock_timestamp() AS now, clock_timestamp() + interval '1 year' AS in_a_year")


async def clock(connection: AsyncConnection) -> tuple[datetime, datetime]:
    """The time of PostgreSQL's clock, and that time a year later."""
    row = (await connection.execute(_CLOCK)).one()
    return row.now, row.in_a_year


def _changing(update: str) -> TextClause:
    """A change of the schedule: it raises the version of the campaign. What the preflight found about the version
    before is still true, because the message and the audience have not changed. Returns whether it changed anything."""
    return text(
        f"""
        WITH campaign AS ({update} RETURNING id, version),
        preflight AS (
            UPDATE marketing_preflights k SET version = campaign.version
            FROM campaign WHERE k.campaign_id = campaign.id AND k.version = campaign.version - 1
        )
        SELECT EXISTS (SELECT FROM campaign)
        """
    )


_SET = _changing(
    """
    UPDATE marketing_campaigns
    SET scheduled_at = :at, scheduled_time_zone = :time_zone,
        schedule_problem_code = NULL, schedule_problem_message = NULL,
        version = version + 1, updated_at = clock_timestamp()
    WHERE id = :campaign_id AND status = 'DRAFT'
    """
)


async def set_schedule(connection: AsyncConnection, campaign_id: UUID, schedule: Schedule | None) -> None:
    """Replace the schedule of a draft, which is locked, and remove the problem of the last one. None: no schedule."""
    at, time_zone = (None, None) if schedule is None else (schedule.at, schedule.time_zone)
    await connection.execute(_SET, {"campaign_id": campaign_id, "at": at, "time_zone": time_zone})


@dataclass(frozen=True, slots=True)
class DueLaunch:
    """A draft whose time has come. `version` is that of the campaign; `late` is in seconds."""

    campaign_id: UUID
    org_id: str
    version: int
    schedule: Schedule
    late: float


# now() and not clock_timestamp(): only a value that does not change within the statement is looked up in the index.
_DUE = text(
    """
    SELECT id, org_id, version, scheduled_at, scheduled_time_zone,
           CAST(extract(epoch FROM now() - scheduled_at) AS float8) AS late
    FROM marketing_campaigns
    WHERE status = 'DRAFT' AND scheduled_at <= now()
    ORDER BY scheduled_at, id
    """
)


async def due_launches(connection: AsyncConnection) -> list[DueLaunch]:
    """The drafts of every organisation whose scheduled time has come, the earliest first."""
    return [
        DueLaunch(row.id, row.org_id, row.version, Schedule(row.scheduled_at, row.scheduled_time_zone), row.late)
        for row in await connection.execute(_DUE)
    ]


_FAIL = _changing(
    """
    UPDATE marketing_campaigns
    SET scheduled_at = NULL, scheduled_time_zone = NULL,
        schedule_problem_code = :code, schedule_problem_message = :message,
        version = version + 1, updated_at = clock_timestamp()
    WHERE id = :campaign_id AND status = 'DRAFT' AND version = :version AND scheduled_at IS NOT NULL
    """
)


async def fail_schedule(connection: AsyncConnection, due: DueLaunch, *, problem: ScheduleProblem, message: str) -> bool:
    """End the schedule with a problem; the campaign stays a DRAFT. False if the campaign was changed meanwhile."""
    values: Mapping[str, Any] = {
        "campaign_id": due.campaign_id,
        "version": due.version,
        "code": problem.value,
        "message": message,
    }
    return bool((await connection.execute(_FAIL, values)).scalar_one())
