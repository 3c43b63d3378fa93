"""A worker that starts before its migration says what it waits for, and works once the schema is there."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from alembic import command

from tests.support.fixtures import alembic_config, migrate
from tests.support.ledger import campaign_row, launched
from tests.support.relay import Relay
from tests.support.workers import worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from pathlib import Path

    from marketing_service.db import Database


async def test_a_worker_waits_for_the_schema_that_it_needs_and_names_it(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    campaign_id = await launched(owner, 3)
    await asyncio.to_thread(command.downgrade, alembic_config(database_url), "0009")
    async with Relay() as relay:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log") as worker:

            async def waits() -> bool:
                assert worker.running, worker.log()
                return worker.log().count("worker_waits") == worker.starts

            async def is_sent() -> bool:
                return bool((await campaign_row(owner, campaign_id))["status"] == "SENT")

            await until(waits, seconds=60)
            assert "The schema is at 0009, and this version needs" in worker.log()
            worker.signal(signal.SIGTERM)
            assert await worker.wait() == 0, "it waits, and can be told to end"
            await worker.start()
            await until(waits, seconds=60)
            await asyncio.to_thread(migrate, database_url)
            await until(is_sent, seconds=60)
            worker.signal(signal.SIGTERM)
            assert await worker.wait() == 0
