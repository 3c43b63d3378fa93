"""Redis is emptied and restarted, PostgreSQL is restarted, in the middle of a campaign: the worker continues."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import DevstackError
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.queue import connect
from tests.support.fixtures import migrate
from tests.support.ledger import contact, launched
from tests.support.relay import Now, Relay, Step, call, delay
from tests.support.workers import worker_environment, worker_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.chaos.scenario import Scenario
    from tests.support.workers import WorkerProcess

CONNECTIONS = 10
RESUMES_WITHIN = 60.0
START_TRIES = 20


class Outages:
    """A relay that decides when the next outage is due: while the worker has results to commit and waits for the reply
    to a final dot. It also keeps the campaign from ending before the last outage."""

    def __init__(self, scenario: Scenario, relay: Relay, *, outages: int, recipients: int) -> None:
        self._scenario = scenario
        self._relay = relay
        self._share = recipients // (outages + 1)
        self._due = asyncio.Event()
        relay.on(Step.DOT, call(self._reached, then=delay(0.5)), when=self._is_due)
        relay.on(Step.DOT, delay(1.0), when=self._is_ahead)
        relay.on(Step.DOT, delay(0.01))

    async def next(self) -> None:
        """Wait until the next outage is due, and count it as a fault."""
        async with asyncio.timeout(120):
            await self._due.wait()
        self._due.clear()
        self._scenario.faults += 1

    async def resumed(self) -> None:
        """Wait until the relay has accepted more messages than were on the wire. Fails after RESUMES_WITHIN seconds."""
        before = len(self._relay.accepted) + 2 * CONNECTIONS
        since = time.monotonic()
        async with asyncio.timeout(RESUMES_WITHIN):
            while len(self._relay.accepted) <= before:
                self._scenario.tell(self._relay)
                await asyncio.sleep(0.05)
        self._scenario.say(f"  {self._scenario.name}: resumed after {time.monotonic() - since:.1f} s")

    def _accepted_shares(self) -> float:
        """The accepted messages, divided by the number of messages between two outages."""
        return len(self._relay.accepted) / self._share

    def _is_due(self, _: Now) -> bool:
        return not self._due.is_set() and self._accepted_shares() > self._scenario.faults + 1

    def _is_ahead(self, _: Now) -> bool:
        return self._accepted_shares() > self._scenario.faults + 1.5

    def _reached(self, _: Now) -> None:
        self._due.set()


@asynccontextmanager
async def one_worker(
    database_url: str, redis_url: str, relay: Relay, log: Path, *, lease_seconds: str = "5", **settings: str
) -> AsyncIterator[WorkerProcess]:
    """Run a worker that must survive the block, and drain it at the end."""
    environment = worker_environment(
        database_url=database_url, redis_url=redis_url, smtp_url=relay.url, lease_seconds=lease_seconds, **settings
    )
    async with worker_process(environment, log) as worker:
        yield worker
        assert worker.running, "the worker has ended"
        worker.signal(signal.SIGTERM)
        assert await worker.wait(60) == 0


@pytest.mark.full
async def test_redis_emptied_and_restarted_loses_nothing_and_doubles_nothing(
    owner: Database, database_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Redis is emptied while it runs, then killed and restarted. The ledger has all information that was in Redis."""
    outages, recipients, away = (10, 10_000, 5.0) if full else (1, 2_000, 0.5)
    scenario = begin("Redis emptied and restarted")
    async with Relay() as relay:
        with ValkeyServer(tmp_path / "valkey") as valkey:
            campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
            pace = Outages(scenario, relay, outages=outages, recipients=recipients)
            async with one_worker(database_url, valkey.url(), relay, tmp_path / "log") as worker:
                for _ in range(outages):
                    await pace.next()
                    client = connect(valkey.url())
                    await client.flushall()
                    await client.aclose(close_connection_pool=True)
                    await asyncio.to_thread(valkey.kill)
                    await asyncio.sleep(away)
                    await asyncio.to_thread(valkey.start)
                    await pace.resumed()
                await scenario.until_sent(owner, campaign_id, relay, seconds=300)
            assert worker.log().count("arq_ended") >= outages, "the worker has not noticed the outages"
        found = await scenario.reconciled(owner, campaign_id, relay)
    assert scenario.faults == outages
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A durable PostgreSQL for this test alone: the guarantees of the ledger need its fsync."""
    with PostgresServer(tmp_path / "postgres") as server:
        migrate(server.url())
        yield server


@pytest.mark.full
@pytest.mark.parametrize("how", [pytest.param("fast shutdown", marks=pytest.mark.full), "SIGKILL"])
async def test_a_restart_of_postgresql_keeps_the_ledger_consistent_and_the_worker_continues(
    own_postgres: PostgresServer,
    redis_url: str,
    tmp_path: Path,
    begin: Callable[[str], Scenario],
    full: bool,
    how: str,
) -> None:
    """The worker commits its results once PostgreSQL is back, and finds what it has marked without knowing of it."""
    outages, recipients, away = (5, 10_000, 3.0) if full else (1, 1_000, 0.5)
    scenario = begin(f"PostgreSQL restarted, {how}")
    owner = Database(own_postgres.url(), role=None, pool_size=3)
    async with Relay() as relay:
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
        pace = Outages(scenario, relay, outages=outages, recipients=recipients)
        async with one_worker(own_postgres.url(), redis_url, relay, tmp_path / "log", lease_seconds="60") as worker:
            for _ in range(outages):
                await pace.next()
                await asyncio.to_thread(own_postgres.kill if how == "SIGKILL" else own_postgres.stop)
                await asyncio.sleep(away)
                await _start(own_postgres)
                await pace.resumed()
            await scenario.until_sent(owner, campaign_id, relay, seconds=300)
        assert "Traceback" not in worker.log()
        found = await scenario.reconciled(owner, campaign_id, relay)
    await owner.close()
    assert scenario.faults == outages
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients


async def _start(server: PostgresServer) -> None:
    """Start the server. After a kill its children need a moment to end, so the start is tried several times."""
    for _ in range(START_TRIES):
        try:
            await asyncio.to_thread(server.start)
        except DevstackError:
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError("PostgreSQL does not start again")
