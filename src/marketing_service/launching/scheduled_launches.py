"""Launches the drafts whose scheduled time has come. Any number of processes may do this at the same time."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from marketing_service.campaigns import lifecycle
from marketing_service.campaigns.audit import record
from marketing_service.campaigns.local_times import NoSuchTimeZone, time_zone
from marketing_service.campaigns.schedule import schedule_details
from marketing_service.errors import InvalidInput, NotFound, PreflightFoundErrors, StaleVersion, Unavailable, WrongState
from marketing_service.store import schedules
from marketing_service.store.audit import SYSTEM, Action, Actor
from marketing_service.store.states import ScheduleProblem

if TYPE_CHECKING:
    from marketing_service.campaigns.rules import CampaignRules
    from marketing_service.db import Transactions
    from marketing_service.ports import AudienceSource, JobQueue, Mailer
    from marketing_service.store.schedules import DueLaunch

log = structlog.get_logger(__name__)

MAX_LATE_SECONDS = 3600.0
"""A draft that is later than this is not launched: nobody expects its message any more."""
LAUNCHED = "LAUNCHED"
OUTCOMES = (LAUNCHED, *ScheduleProblem)


class ScheduledLaunches:
    """`outcomes` counts what became of the schedules that this process ended."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        audience: AudienceSource,
        job_queue: JobQueue,
        rules: CampaignRules,
        mailer: Mailer | None,
    ) -> None:
        self._transactions = transactions
        self._audience = audience
        self._job_queue = job_queue
        self._rules = rules
        self._mailer = mailer
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """Launch each draft that is due. One that cannot be launched stays a DRAFT and gets a problem. One that fails
        for another reason is tried again in the next run. Raises Unavailable."""
        async with self._transactions() as tx:
            due = await schedules.due_launches(tx.connection)
        for launch in due:
            try:
                await self._end(launch)
            except Unavailable:
                raise
            except Exception:
                log.exception("scheduled_launch_failed", campaign_id=str(launch.campaign_id))

    async def _end(self, due: DueLaunch) -> None:
        if due.late > MAX_LATE_SECONDS:
            message = (
                f"The launch was scheduled for {_written(due)}, and no worker could launch the campaign within an hour."
                " Schedule it again, or launch it now."
            )
            await self._fail(due, ScheduleProblem.MISSED, message)
            return
        try:
            await self._launch(due)
        except (NotFound, WrongState, StaleVersion):
            # It was launched, changed or deleted since it was read. If it is still scheduled, the next run finds it.
            return
        except (InvalidInput, PreflightFoundErrors) as refusal:
            message = f"The launch that was scheduled for {_written(due)} was refused: {refusal.detail}"
            await self._fail(due, ScheduleProblem.REFUSED, message)

    async def _launch(self, due: DueLaunch) -> None:
        """Of all processes that try, one finds a DRAFT of this version."""
        await lifecycle.launch(
            self._transactions,
            self._audience,
            self._job_queue,
            self._rules,
            mailer=self._mailer,
            actor=Actor(due.org_id, SYSTEM),
            campaign_id=due.campaign_id,
            versions={due.version},
            schedule=due.schedule,
        )
        self.outcomes[LAUNCHED] += 1
        log.info("scheduled_campaign_launched", campaign_id=str(due.campaign_id), late_seconds=round(due.late, 1))

    async def _fail(self, due: DueLaunch, problem: ScheduleProblem, message: str) -> None:
        async with self._transactions(due.org_id) as tx:
            if not await schedules.fail_schedule(tx.connection, due, problem=problem, message=message):
                return
            await record(
                tx,
                Actor(due.org_id, SYSTEM),
                Action.SCHEDULE_FAILED,
                due.campaign_id,
                problem=problem.value,
                **schedule_details(due.schedule),
            )
        self.outcomes[problem] += 1
        log.warning("schedule_failed", campaign_id=str(due.campaign_id), problem=problem.value, message=message)


def _written(due: DueLaunch) -> str:
    """The time as its author wrote it, or in UTC."""
    at, zone = due.schedule.at, due.schedule.time_zone
    if zone is not None:
        with suppress(NoSuchTimeZone):  # a version of this service may have rules without this name
            return f"{at.astimezone(time_zone(zone)):%Y-%m-%d %H:%M} {zone}"
    return f"{at:%Y-%m-%d %H:%M} UTC"
