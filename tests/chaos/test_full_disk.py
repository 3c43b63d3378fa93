"""A disk of PostgreSQL is full in the middle of a campaign: the cause is named, and no send is lost or doubled."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from tests.chaos.calling_api import calling_api
from tests.chaos.test_servers import Outages, one_worker
from tests.support.fixtures import migrate
from tests.support.ledger import contact, launched
from tests.support.postgres_servers import run
from tests.support.relay import Relay
from tests.support.small_disk import missing, small_disk
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.chaos.scenario import Scenario

# The folder on the small disk, and what the API says while the disk is full. PostgreSQL cannot run without room for its
# log of writes: it ends, and a person must start it again.
NAMED = {"base": "has no disk space left", "pg_wal": "does not answer"}
SEGMENTS = 8
"""PostgreSQL keeps some empty segments of the log; so many are more than the disk has room for."""


@pytest.mark.parametrize("folder", ["base", pytest.param("pg_wal", marks=pytest.mark.full)])
async def test_a_full_disk_is_named_and_sending_goes_on_when_there_is_room_again(
    redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool, folder: str
) -> None:
    if reason := missing(tmp_path):
        pytest.skip(reason)
    recipients = 5_000 if full else 500
    scenario = begin(f"full disk, {folder}")
    server = PostgresServer(tmp_path / "postgres", durable=False)
    with server:
        await asyncio.to_thread(migrate, server.url())
        await run(server, "ALTER SYSTEM SET min_wal_size = '32MB'", "ALTER SYSTEM SET max_wal_size = '48MB'")
    with small_disk(server.data_dir / "cluster" / folder, megabytes=96) as disk, server:
        owner = Database(server.url(), role=None, pool_size=3)
        async with Relay() as relay:
            campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
            pace = Outages(scenario, relay, outages=1, recipients=recipients)
            async with (
                snapshot(server),
                calling_api(server.url(), redis_url) as answers,
                one_worker(server.url(), redis_url, relay, tmp_path / "log", lease_seconds="60") as worker,
            ):

                async def worker_says_so() -> bool:
                    return "ledger_unavailable" in worker.log()

                await pace.next()
                disk.fill()
                if folder == "pg_wal":
                    await use_up_segments(server)
                await answers.until_it_is_named(NAMED[folder])
                await scenario.until(worker_says_so, relay, seconds=60)
                disk.free()
                if folder == "pg_wal":
                    await asyncio.to_thread(server.stop)
                    await asyncio.to_thread(server.start)
                await pace.resumed()
                await scenario.until_sent(owner, campaign_id, relay, seconds=300)
            assert "Traceback" not in worker.log()
            assert folder != "base" or "DiskFullError" in worker.log()
            found = await scenario.reconciled(owner, campaign_id, relay)
        await owner.close()
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients


@asynccontextmanager
async def snapshot(server: PostgresServer) -> AsyncIterator[None]:
    """Keep a snapshot while the block runs, as a backup does. So no old version of a row is replaced, and every update
    needs new room."""
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.execute("SELECT count(*) FROM marketing_sends")
        yield
    finally:
        connection.terminate()


async def use_up_segments(server: PostgresServer) -> None:
    """Begin new segments of the log until PostgreSQL ends."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        for _ in range(SEGMENTS):
            await run(server, "SELECT pg_logical_emit_message(false, 'test', 'x')", "SELECT pg_switch_wal()")

    async def has_ended() -> bool:
        return server.poll() is not None

    await until(has_ended)
