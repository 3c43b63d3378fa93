"""Drafts whose time has come: each is launched once, by one of several workers, or stays a draft with a problem."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.campaigns.schedule import schedule
from marketing_service.errors import Unavailable
from marketing_service.launching import ScheduledLaunches
from marketing_service.ports import SizeLimit
from marketing_service.store import preflights
from marketing_service.store.audit import Actor
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import campaign_row, draft
from tests.support.world import until

if TYPE_CHECKING:
    from uuid import UUID

    from tests.support.world import World

MINUTE = 60


def launches_of(world: World) -> ScheduledLaunches:
    return WorkerDependencies.of(world.worker).scheduled_launches


async def scheduled(world: World, *, seconds_ago: float, **values: Any) -> UUID:
    """A draft whose time came so many seconds ago."""
    campaign_id = await draft(world.owner, **({"org_id": world.org_id} | values))
    await move_schedule(world, campaign_id, seconds_ago)
    return campaign_id


async def move_schedule(world: World, campaign_id: UUID, seconds_ago: float) -> None:
    """As if PostgreSQL's clock had jumped: the time of the schedule is so many seconds before now."""
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_campaigns SET scheduled_at = now() - :ago * interval '1 s',"
                " scheduled_time_zone = 'Europe/London' WHERE id = :id"
            ),
            {"ago": seconds_ago, "id": campaign_id},
        )


async def trail(world: World, *campaign_ids: UUID) -> list[tuple[str, str, dict[str, Any]]]:
    """The entries of the audit trail about these campaigns, oldest first."""
    async with world.owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT actor, action, details FROM marketing_audit WHERE campaign_id = ANY(:ids) ORDER BY id"),
            {"ids": list(campaign_ids)},
        )
        return [(row.actor, row.action, row.details) for row in rows]


async def test_a_draft_is_launched_at_its_time_and_not_before(world: World) -> None:
    due = await scheduled(world, seconds_ago=0)
    later = await scheduled(world, seconds_ago=-MINUTE)
    launches = launches_of(world)
    await launches.run()
    row = await campaign_row(world.owner, due)
    assert (row["status"], row["version"]) == ("SENDING", 2)
    assert row["launched_at"] >= row["scheduled_at"], "the schedule that launched it can still be read"
    assert (await campaign_row(world.owner, later))["status"] == "DRAFT"
    assert launches.outcomes == {"LAUNCHED": 1}
    ((actor, action, details),) = await trail(world, due)
    assert (actor, action) == ("system", "launched")
    assert details["scheduledAt"] == row["scheduled_at"].isoformat()
    assert details["scheduledTimeZone"] == "Europe/London"
    assert any(str(due) in key.decode() for key in await world.redis.keys("arq:job:*")), "the expansion is enqueued"


async def test_three_workers_at_once_launch_each_of_200_drafts_once(world: World) -> None:
    # Without a relay to ask for its limit, which only takes time here.
    workers = [WorkerDependencies.of(replace(world.worker, mailer=None)).scheduled_launches for _ in range(3)]
    campaigns = []
    for _ in range(10):
        campaigns += [await scheduled(world, seconds_ago=MINUTE, html_body=None, text_body="Hello") for _ in range(20)]
        await asyncio.gather(*(worker.run() for worker in workers))
    assert sum(worker.outcomes["LAUNCHED"] for worker in workers) == len(campaigns) == 200
    assert [entry[1] for entry in await trail(world, *campaigns)] == ["launched"] * 200
    async with world.owner.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT DISTINCT status, version FROM marketing_campaigns"))
        assert [tuple(row) for row in rows] == [("SENDING", 2)]


@pytest.mark.parametrize(("minutes", "is_launched"), [(59, True), (61, False)])
async def test_a_draft_is_launched_up_to_an_hour_late(world: World, minutes: int, is_launched: bool) -> None:
    """All workers were down at its time, or PostgreSQL's clock has jumped ahead."""
    campaign_id = await scheduled(world, seconds_ago=minutes * MINUTE)
    before = await campaign_row(world.owner, campaign_id)
    workers = [launches_of(world) for _ in range(3)]
    await asyncio.gather(*(worker.run() for worker in workers))
    row = await campaign_row(world.owner, campaign_id)
    if is_launched:
        assert (row["status"], row["schedule_problem_code"]) == ("SENDING", None)
        return
    assert (row["status"], row["version"], row["scheduled_at"]) == ("DRAFT", 2, None)
    assert row["schedule_problem_code"] == "MISSED"
    assert "Europe/London" in row["schedule_problem_message"]
    assert sum(worker.outcomes["MISSED"] for worker in workers) == 1
    details = {
        "problem": "MISSED",
        "scheduledAt": before["scheduled_at"].isoformat(),
        "scheduledTimeZone": "Europe/London",
    }
    assert await trail(world, campaign_id) == [("system", "schedule-failed", details)]


async def test_a_clock_that_jumps_back_launches_nothing_twice(world: World) -> None:
    campaign_id = await scheduled(world, seconds_ago=0)
    launches = launches_of(world)
    await launches.run()
    for seconds_ago in (-MINUTE, MINUTE):
        await move_schedule(world, campaign_id, seconds_ago)
        await launches.run()
    assert launches.outcomes == {"LAUNCHED": 1}
    assert (await campaign_row(world.owner, campaign_id))["version"] == 2


async def test_a_launch_that_is_refused_leaves_a_draft_with_the_reason(world: World) -> None:
    without_body = await scheduled(world, seconds_ago=0, html_body=None)
    with_errors = await draft(world.owner, org_id=world.org_id)
    async with world.owner.transaction() as tx:
        await preflights.request_preflight(
            tx.connection, org_id=world.org_id, campaign_id=with_errors, version=1, requested_by="someone"
        )
        await tx.connection.execute(
            text(
                "UPDATE marketing_preflights SET status = 'DONE', report = '{}', errors = 2, due_at = NULL,"
                " finished_at = now()"
            )
        )
    # The preflight is older than the schedule. The message is still the one that it looked at.
    async with world.owner.transaction() as tx:
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        await schedule(tx, Actor(world.org_id, "ada"), with_errors, at=tomorrow, zone=None)
    await move_schedule(world, with_errors, 0)
    fine = await scheduled(world, seconds_ago=0)
    launches = launches_of(world)
    await launches.run()
    for campaign_id, says in ((without_body, "htmlBody: "), (with_errors, "found 2 errors")):
        row = await campaign_row(world.owner, campaign_id)
        assert (row["status"], row["scheduled_at"], row["schedule_problem_code"]) == ("DRAFT", None, "REFUSED")
        assert says in row["schedule_problem_message"]
    assert (await campaign_row(world.owner, fine))["status"] == "SENDING"
    assert launches.outcomes == {"LAUNCHED": 1, "REFUSED": 2}


async def test_what_a_user_does_meanwhile_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a worker asks the relay for its limit, both drafts are changed: the one that it has validated, and the one
    that is next. The worker launches neither."""
    asked, answer = asyncio.Event(), asyncio.Event()
    assert world.worker.mailer is not None

    async def slow() -> SizeLimit:
        asked.set()
        await answer.wait()
        return SizeLimit(None, eight_bit=True)

    monkeypatch.setattr(type(world.worker.mailer), "message_size_limit", lambda _: slow())
    campaigns = [await scheduled(world, seconds_ago=seconds) for seconds in (2, 1)]
    launches = launches_of(world)
    running = asyncio.create_task(launches.run())
    await asked.wait()
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_campaigns SET scheduled_at = NULL, scheduled_time_zone = NULL, version = version + 1"
            )
        )
    answer.set()
    await running
    assert not launches.outcomes
    assert [(await campaign_row(world.owner, each))["status"] for each in campaigns] == ["DRAFT", "DRAFT"]


async def test_an_error_of_one_draft_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = await scheduled(world, seconds_ago=2)
    fine = await scheduled(world, seconds_ago=1)
    launches = launches_of(world)
    launch = ScheduledLaunches._launch

    async def fails(self: ScheduledLaunches, due: Any) -> None:
        if due.campaign_id == broken:
            raise RuntimeError("an error of the service")
        await launch(self, due)

    monkeypatch.setattr(ScheduledLaunches, "_launch", fails)
    await launches.run()
    assert [(await campaign_row(world.owner, each))["status"] for each in (broken, fine)] == ["DRAFT", "SENDING"]
    monkeypatch.undo()
    await launches.run()
    assert (await campaign_row(world.owner, broken))["status"] == "SENDING"


async def test_without_postgresql_the_next_run_tries_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign_id = await scheduled(world, seconds_ago=0)
    launches = launches_of(world)

    async def away(*_: Any) -> None:
        raise Unavailable("PostgreSQL")

    monkeypatch.setattr(ScheduledLaunches, "_launch", away)
    with pytest.raises(Unavailable):
        await launches.run()
    monkeypatch.undo()
    await launches.run()
    assert (await campaign_row(world.owner, campaign_id))["status"] == "SENDING"


async def test_a_worker_launches_what_is_due(world: World) -> None:
    campaign_id = await scheduled(world, seconds_ago=0)
    async with world.working():
        await world.until_status(campaign_id, "SENT")

        async def launched_again() -> bool:
            return bool((await campaign_row(world.owner, later))["status"] != "DRAFT")

        later = await scheduled(world, seconds_ago=-0.5)
        await until(launched_again)
    row = await campaign_row(world.owner, later)
    assert row["launched_at"] >= row["scheduled_at"]
