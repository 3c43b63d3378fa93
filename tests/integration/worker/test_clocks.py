"""A process whose wall clock is an hour wrong: its jobs wait no longer than others, it takes all jobs, and it launches
scheduled drafts at their time."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from marketing_service.queue import Job, Queue
from tests.support.dev import unmeasured_environment
from tests.support.ledger import campaign_row, draft
from tests.support.shifted_clock import with_shifted_clock
from tests.support.workers import worker_environment, worker_process

if TYPE_CHECKING:
    from pathlib import Path

    from marketing_service.db import Database
    from tests.support.world import World

HOUR = 3600
ENQUEUE = """
import asyncio, sys, time
from uuid import UUID
from marketing_service.queue import ArqJobQueue, connect

async def main():
    redis = connect(sys.argv[1])
    await ArqJobQueue(redis).enqueue_test_mail(UUID(int=3))
    await redis.aclose(close_connection_pool=True)

asyncio.run(main())
print(time.time())
"""


async def test_the_order_of_jobs_is_that_of_their_enqueueing(world: World, redis_url: str, tmp_path: Path) -> None:
    for seconds in (HOUR, -HOUR):
        await world.redis.flushall()
        await world.worker.job_queue.enqueue_import(UUID(int=1))
        assert abs(await enqueue_with_clock(seconds, redis_url, tmp_path / str(seconds)) - time.time() - seconds) < 60
        await world.worker.job_queue.enqueue_import(UUID(int=2))
        names = [name.decode().rpartition(":")[0] for name in await world.redis.zrange(Queue.SENDING, 0, -1)]
        assert names == [f"{Job.IMPORT}:{UUID(int=1)}", f"{Job.SEND_TEST}:{UUID(int=3)}", f"{Job.IMPORT}:{UUID(int=2)}"]


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, -50 * 365 * 24 * HOUR])
async def test_a_worker_with_a_wrong_clock_takes_the_jobs_of_others(
    owner: Database, world: World, database_url: str, redis_url: str, tmp_path: Path, seconds: int
) -> None:
    environment = worker_environment(
        database_url=database_url, redis_url=redis_url, smtp_url=world.relay.url, sweep_seconds="3600"
    )
    first = await world.launch_to("ada@example.com")
    async with worker_process(with_shifted_clock(environment, tmp_path, seconds), tmp_path / "worker.log"):
        await world.until_status(first, "SENT")  # its only sweep has found this one, and cannot find the next one
        campaign_id = await world.launch_to("bob@example.com")
        await world.sweep()
        await world.until_status(campaign_id, "SENT")


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_worker_with_a_wrong_clock_launches_a_draft_at_its_time(
    owner: Database, world: World, database_url: str, redis_url: str, tmp_path: Path, seconds: int
) -> None:
    """PostgreSQL's clock decides: the worker is neither early nor late."""
    environment = worker_environment(
        database_url=database_url, redis_url=redis_url, smtp_url=world.relay.url, sweep_seconds="0.3"
    )
    now = datetime.now(UTC)
    later, due = [await draft(owner, scheduled_at=now + timedelta(minutes=minutes)) for minutes in (30, 0)]
    async with worker_process(with_shifted_clock(environment, tmp_path, seconds), tmp_path / "worker.log"):
        await world.until_status(due, "SENDING")
    assert (await campaign_row(owner, later))["status"] == "DRAFT"


async def enqueue_with_clock(seconds: int, redis_url: str, folder: Path) -> float:
    """Have another process put a job into the queue; returns the time that it believes in."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENQUEUE, redis_url,
        env=with_shifted_clock(unmeasured_environment(), folder, seconds), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return float(output)
