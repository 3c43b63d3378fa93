"""A worker is killed during an expansion: afterwards there is one row for each eligible contact, and no other."""

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
    """Kills one worker at a given point of the expansion of one campaign."""

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
        """The CRM has received the request for a page and has not responded. `share` is the position of the page."""
        requested = asyncio.Event()
        wanted = round(self.crm.last_page * share)

        async def look(page: int) -> None:
            if page == wanted:
                requested.set()
                await self.worker.wait()

        self.crm.before_page = look
        await self._launch()
        await asyncio.wait_for(requested.wait(), _SECONDS)
        self.now()
        await self.worker.wait()
        self.crm.before_page = None

    async def when_a_page_is_staged(self) -> None:
        """The COPY of a page in the middle waits; its transaction has already written the progress."""
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
        """The merge waits to write its first row to the table."""
        async with self._locked(f"LOCK TABLE {table} IN SHARE MODE"):
            await self._launch()
            await self._until_it_waits(f"INSERT INTO {table}")
            self.now()
            await self.worker.wait()

    async def while_rows_are_written(self) -> None:
        """The INSERT of the merge runs and waits for no lock."""
        await self._launch()
        await until(partial(self._is_running, "INSERT INTO marketing_sends"), seconds=_SECONDS)
        self.now()
        await self.worker.wait()
        assert (await campaign_row(self.owner, self.campaign_id))["expanded_at"] is None

    async def before_batches_are_chosen_to_enqueue(self) -> None:
        """The expansion is committed. The statement that chooses the batches to enqueue waits for a lock."""
        async with AsyncExitStack() as stack:
            async with self._locked("LOCK TABLE marketing_sends IN SHARE MODE"):
                await self._launch()
                await self._until_it_waits("INSERT INTO marketing_sends")
                # This lock waits for the merge, and every statement after the merge's commit waits for this lock. A row
                # lock is not enough: after the merge releases it, the first statement that asks gets it.
                statement = "LOCK TABLE marketing_campaigns IN EXCLUSIVE MODE"
                locking = asyncio.create_task(stack.enter_async_context(self._locked(statement)))
                await self._until_it_waits(statement)
            await asyncio.wait_for(locking, _SECONDS)
            self.now()
            await self.worker.wait()
        assert (await self._batches("enqueued_at IS NULL")) > 0 == await self._batches("enqueued_at IS NOT NULL")

    async def before_chosen_batches_are_enqueued(self) -> None:
        """The batches to enqueue are chosen and committed, and Redis does not respond."""
        requested = asyncio.Event()

        async def look(page: int) -> None:
            if page == self.crm.last_page:
                os.kill(self.valkey.pid, signal.SIGSTOP)
                requested.set()

        self.crm.before_page = look
        await self._launch()
        await asyncio.wait_for(requested.wait(), _SECONDS)
        try:

            async def chosen() -> bool:
                return await self._batches("enqueued_at IS NOT NULL") > 0

            await until(chosen, seconds=_SECONDS)
            self.now()
            await self.worker.wait()
        finally:
            os.kill(self.valkey.pid, signal.SIGCONT)
        assert await self._batches("epoch > 0") == 0, "a batch was claimed before it was enqueued"

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
        """Wait until a statement with these words waits for a lock."""
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
    "committed, no batch chosen": Kill.before_batches_are_chosen_to_enqueue,
    "chosen, not enqueued": Kill.before_chosen_batches_are_enqueued,
}
# `make test` runs the other points, which find the most.
_ONLY_FULL = POINTS.keys() - {"the merge's batches", "chosen, not enqueued"}


@pytest.mark.parametrize(
    "point",
    [pytest.param(name, marks=[pytest.mark.full] if name in _ONLY_FULL else []) for name in POINTS],
)
async def test_a_kill_during_an_expansion_loses_and_doubles_no_recipient(
    owner: Database, database_url: str, redis_url: str, valkey: ValkeyServer, tmp_path: Path, point: str, full: bool
) -> None:
    """The short form also sends the campaign, and counts the messages at the relay."""
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

            async def is_expanded_or_sent() -> bool:
                row = await campaign_row(owner, campaign_id)
                return row["expanded_at"] is not None if full else row["status"] == "SENT"

            await until(is_expanded_or_sent, seconds=_SECONDS)
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
