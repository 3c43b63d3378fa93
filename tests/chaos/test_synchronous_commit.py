"""A server that confirms commits before they are on its disk crashes: our sessions do not let it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from tests.chaos.calling_api import calling_api
from tests.chaos.test_servers import Outages, one_worker
from tests.support.fixtures import migrate
from tests.support.ledger import contact, launched
from tests.support.postgres_servers import crash, run
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.scenario import Scenario


async def test_a_crash_of_a_server_with_synchronous_commit_off_doubles_nothing(
    redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    """With `resend`, a result that the server confirmed and lost would be a message that is sent twice."""
    crashes, recipients = (5, 5_000) if full else (1, 500)
    scenario = begin("crash with synchronous_commit=off")
    with PostgresServer(tmp_path / "postgres", durable=False) as server:
        await asyncio.to_thread(migrate, server.url())
        # The most that a server may wait before it writes an asynchronous commit.
        await run(server, "ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")
        plain = await asyncpg.connect(server.url())
        assert await plain.fetchval("SHOW synchronous_commit") == "off"
        await plain.close()
        owner = Database(server.url(), role=None, pool_size=3)
        async with Relay() as relay:
            campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
            await run(server, "CHECKPOINT")  # the campaign is on the disk, whatever the sessions do
            pace = Outages(scenario, relay, outages=crashes, recipients=recipients)
            async with (
                calling_api(server.url(), redis_url) as answers,
                one_worker(
                    server.url(), redis_url, relay, tmp_path / "log", lease_seconds="60", ambiguous_sends="resend"
                ) as worker,
            ):
                for _ in range(crashes):
                    await pace.next()
                    await asyncio.to_thread(crash, server)
                    await answers.until_it_is_named("PostgreSQL does not answer")
                    await asyncio.to_thread(server.start)
                    await pace.resumed()
                await scenario.until_sent(owner, campaign_id, relay, seconds=300)
            assert "Traceback" not in worker.log()
            found = await scenario.reconciled(owner, campaign_id, relay)
        await owner.close()
    assert scenario.faults == crashes
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients
