"""PostgreSQL answers, and refuses every commit for a while: a worker loses none of the results that it holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from tests.chaos.test_servers import Outages, one_worker
from tests.support.fixtures import migrate
from tests.support.ledger import contact, launched
from tests.support.postgres_servers import run
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.scenario import Scenario

LOG_IN = "worker_login"
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{LOG_IN}'"
REFUSALS = {
    "read-only": (
        ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
        ("SET default_transaction_read_only = off", "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"),
        "is read-only",
    ),
    "no log-in": (
        (f"ALTER ROLE {LOG_IN} NOLOGIN", TERMINATE),
        (f"ALTER ROLE {LOG_IN} LOGIN",),
        "is not permitted to log in",
    ),
    "no rights": (
        ("REVOKE UPDATE ON marketing_sends FROM marketing_worker",),
        ("GRANT UPDATE ON marketing_sends TO marketing_worker",),
        "permission denied",
    ),
}
"""What starts the refusal, what ends it, and what the log of the worker says meanwhile."""


@pytest.mark.parametrize(
    "refusal", ["read-only", *(pytest.param(name, marks=pytest.mark.full) for name in ("no log-in", "no rights"))]
)
async def test_while_postgresql_refuses_commits_no_result_is_lost(
    redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool, refusal: str
) -> None:
    outages, recipients, away = (5, 5_000, 8.0) if full else (1, 500, 1.0)
    start, end, says = REFUSALS[refusal]
    scenario = begin(f"PostgreSQL refuses: {refusal}")
    with PostgresServer(tmp_path / "postgres", durable=False) as server:
        await asyncio.to_thread(migrate, server.url())
        await run(server, f"CREATE ROLE {LOG_IN} LOGIN PASSWORD 'secret' IN ROLE marketing_worker")
        parts = urlsplit(server.url())
        worker_url = parts._replace(netloc=f"{LOG_IN}:secret@127.0.0.1:{parts.port}").geturl()
        owner = Database(server.url(), role=None, pool_size=3)
        async with Relay() as relay:
            campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
            pace = Outages(scenario, relay, outages=outages, recipients=recipients)
            async with one_worker(worker_url, redis_url, relay, tmp_path / "log", lease_seconds="60") as worker:
                for _ in range(outages):
                    await pace.next()
                    await run(server, *start)
                    await asyncio.sleep(away)
                    await run(server, *end)
                    await pace.resumed()
                await scenario.until_sent(owner, campaign_id, relay, seconds=300)
            assert "Traceback" not in worker.log()
            assert says in worker.log()
            found = await scenario.reconciled(owner, campaign_id, relay)
        await owner.close()
    assert found.counters["delivered"] == recipients
    assert (found.duplicates, found.counters["unconfirmed"]) == (0, 0)
