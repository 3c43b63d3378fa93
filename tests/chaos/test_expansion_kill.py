"""A worker is killed while it makes a list: afterwards the list is exactly the eligible contacts, once each."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import text

from marketing_service.ledger import lifecycle
from marketing_service.queue import ArqJobQueue, connect
from tests.chaos.audience import LargeCrm, expected_rows, opted_out_addresses
from tests.support.ledger import ORG, assert_adds_up, campaign_row, draft
from tests.support.relay import Relay
from tests.support.workers import worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.devstack.valkey import ValkeyServer
    from tests.support.workers import WorkerProcess

_SECONDS = 240
_RUNNING = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
    " AND pid <> pg_backend_pid() AND position(:words IN query) > 0"
)


class Kill:
    """One worker, one campaign, and the ways to catch the worker at a given point of its expansion."""

    def __init__(self, owner: Database, database_url: str, valkey: ValkeyServer, crm: LargeCrm) -> None:
        self.owner = owner
        self.valkey = valkey
        self.crm = crm
        self._database_url = database_url
        self.campaign_id: UUID
        self.worker: WorkerProcess

    def now(self) -> None:
        self.worker.signal(signal.SIGKILL)

    async def when_page_is_asked_for(self, share: float) -> None:
        """While the CRM has been asked for the page that far into the list, and has not answered."""
        asked = asyncio.Event()
        wanted = round(self.crm.last_page * share)

        async def look(page: int) -> None:
            if page == wanted:
                asked.set()
                await self.worker.wait()

        self.crm.before_page = look
        await self._launch()
        await asyncio.wait_for(asked.wait(), _SECONDS)
        self.now()
        await self.worker.wait()
        self.crm.before_page = None

    async def when_a_page_is_staged(self) -> None:
        """While the COPY of a page in the middle waits, its progress already written in the same transaction."""
        async with AsyncExitStack() as locks:

            async def lock(page: int) -> None:
                if page == self.crm.last_page // 2:
                    await locks.enter_async_context(self._locked("LOCK TABLE marketing_staged_contacts IN SHARE MODE"))

            self.crm.before_page = lock
            await self._launch()
            await self._until_it_waits("COPY")
            self.now()
            await self.worker.wait()
        self.crm.before_page = None

    async def when_the_merge_waits_for(self, table: str) -> None:
        """While the merge waits to write its first row to the table."""
        async with self._locked(f"LOCK TABLE {table} IN SHARE MODE"):
            await self._launch()
            await self._until_it_waits(f"INSERT INTO {table}")
            self.now()
            await self.worker.wait()

    async def while_rows_are_written(self) -> None:
        """While the merge's INSERT runs, and is not waiting for anything."""
        await self._launch()
        await until(partial(self._is_running, "INSERT INTO marketing_sends"), seconds=_SECONDS)
        self.now()
        await self.worker.wait()
        assert (await campaign_row(self.owner, self.campaign_id))["expanded_at"] is None

    async def between_the_list_and_the_choice_of_what_to_ring(self) -> None:
        """The list has been committed. Whoever wants to ring finds the campaigns locked."""
        async with AsyncExitStack() as stack:
            async with self._locked("LOCK TABLE marketing_sends IN SHARE MODE"):
                await self._launch()
                await self._until_it_waits("INSERT INTO marketing_sends")
                # It queues up behind the merge, and everything that follows the merge's commit behind it. (A row's
                # lock would not do: once the merge has let go of it, whoever comes first gets it.)
                statement = "LOCK TABLE marketing_campaigns IN EXCLUSIVE MODE"
                locking = asyncio.create_task(stack.enter_async_context(self._locked(statement)))
                await self._until_it_waits(statement)
            await asyncio.wait_for(locking, _SECONDS)
            self.now()
            await self.worker.wait()
        assert (await self._batches("enqueued_at IS NULL")) > 0 == await self._batches("enqueued_at IS NOT NULL")

    async def between_that_choice_and_the_ring(self) -> None:
        """What is to be rung has been chosen and committed, and Redis does not answer."""
        asked = asyncio.Event()

        async def look(page: int) -> None:
            if page == self.crm.last_page:
                os.kill(self.valkey.pid, signal.SIGSTOP)
                asked.set()

        self.crm.before_page = look
        await self._launch()
        await asyncio.wait_for(asked.wait(), _SECONDS)
        try:

            async def chosen() -> bool:
                return await self._batches("enqueued_at IS NOT NULL") > 0

            await until(chosen, seconds=_SECONDS)
            self.now()
            await self.worker.wait()
        finally:
            os.kill(self.valkey.pid, signal.SIGCONT)
        assert await self._batches("epoch > 0") == 0, "no batch had been claimed"

    async def _launch(self) -> None:
        redis = connect(self.valkey.url())
        async with self.owner.transaction() as tx:
            assert await lifecycle.launch(tx.connection, self.campaign_id, audience=None)
            tx.after_commit(partial(ArqJobQueue(redis).enqueue_expansion, self.campaign_id, 0))
        await redis.aclose(close_connection_pool=True)

    @asynccontextmanager
    async def _locked(self, statement: str) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self._database_url)
        try:
            async with connection.transaction():
                await connection.execute(statement)
                yield
        finally:
            await connection.close()

    async def _until_it_waits(self, words: str) -> None:
        """Until a statement with these words waits for a lock."""
        await until(partial(self._is_so, _RUNNING + " AND wait_event_type = 'Lock')", words=words), seconds=_SECONDS)

    async def _is_running(self, words: str) -> bool:
        return await self._is_so(_RUNNING + " AND wait_event_type IS DISTINCT FROM 'Lock')", words=words)

    async def _is_so(self, query: str, **values: object) -> bool:
        async with self.owner.transaction() as tx:
            return bool((await tx.connection.execute(text(query), values)).scalar_one())

    async def _batches(self, condition: str) -> int:
        query = f"SELECT count(*) FROM marketing_batches WHERE campaign_id = :id AND {condition}"
        async with self.owner.transaction() as tx:
            return int((await tx.connection.execute(text(query), {"id": self.campaign_id})).scalar_one())


if TYPE_CHECKING:
    Point = Callable[[Kill], Awaitable[None]]

POINTS: dict[str, Point] = {
    "first page": lambda kill: kill.when_page_is_asked_for(0.0),
    "a third": lambda kill: kill.when_page_is_asked_for(0.33),
    "two thirds": lambda kill: kill.when_page_is_asked_for(0.67),
    "last page": lambda kill: kill.when_page_is_asked_for(1.0),
    "a page is staged": Kill.when_a_page_is_staged,
    "the merge's first row": lambda kill: kill.when_the_merge_waits_for("marketing_sends"),
    "the merge's rows": Kill.while_rows_are_written,
    "the merge's batches": lambda kill: kill.when_the_merge_waits_for("marketing_batches"),
    "committed, nothing chosen": Kill.between_the_list_and_the_choice_of_what_to_ring,
    "chosen, not rung": Kill.between_that_choice_and_the_ring,
}
# The most telling ones are left for every run; and the rows of a short list are written too quickly to be caught at it.
_ONLY_FULL = POINTS.keys() - {"the merge's batches", "chosen, not rung"}


@pytest.mark.parametrize(
    "point",
    [pytest.param(name, marks=[pytest.mark.full] if name in _ONLY_FULL else []) for name in POINTS],
)
async def test_a_kill_leaves_the_eligible_set_or_nothing(
    owner: Database, database_url: str, redis_url: str, valkey: ValkeyServer, tmp_path: Path, point: str, full: bool
) -> None:
    """The short form sends the list as well, and counts what the relay got."""
    contacts, page_size = (200_000, 1000) if full else (400, 50)
    async with LargeCrm(contacts, page_size) as crm, Relay() as relay:
        environment = worker_environment(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=relay.url,
            crm_url=crm.url,
            crm_page_size=str(page_size),
        )
        kill = Kill(owner, database_url, valkey, crm)
        kill.campaign_id = campaign_id = await draft(owner)
        await _opt_out(owner, opted_out_addresses(contacts))
        async with worker_process(environment, tmp_path / "log") as worker:
            kill.worker = worker
            await POINTS[point](kill)
            assert not worker.running
            assert relay.accepted == []
            if full:
                await _pause(owner, campaign_id)
            await worker.start()

            async def stands() -> bool:
                row = await campaign_row(owner, campaign_id)
                return row["expanded_at"] is not None if full else row["status"] == "SENT"

            await until(stands, seconds=_SECONDS)
        rows = await _rows(database_url, campaign_id)
        found = {row["contact_id"]: (row["status"].replace("DELIVERED", "QUEUED"), row["reason"]) for row in rows}
        assert len(rows) == len(found)
        assert found == expected_rows(contacts)
        await assert_adds_up(owner, campaign_id)
        mailed = {row["email"]: 1 for row in rows if row["status"] == "DELIVERED"}
        assert relay.recipients == mailed
        assert bool(mailed) is not full


async def _rows(database_url: str, campaign_id: UUID) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database_url)
    try:
        return list(
            await connection.fetch(
                "SELECT contact_id, email, status, reason FROM marketing_sends WHERE campaign_id = $1", campaign_id
            )
        )
    finally:
        await connection.close()


async def _opt_out(owner: Database, addresses: list[str]) -> None:
    statement = text(
        "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at)"
        " SELECT :org_id, address, '{}', now() + interval '1 day' FROM unnest(CAST(:addresses AS text[])) AS address"
    )
    async with owner.transaction() as tx:
        await tx.connection.execute(statement, {"org_id": ORG, "addresses": addresses})


async def _pause(owner: Database, campaign_id: UUID) -> None:
    statement = text("UPDATE marketing_campaigns SET paused_at = now(), pause_reason = 'USER' WHERE id = :id")
    async with owner.transaction() as tx:
        await tx.connection.execute(statement, {"id": campaign_id})
