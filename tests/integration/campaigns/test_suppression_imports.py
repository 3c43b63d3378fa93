"""Workers add the addresses of a file in steps: each once, in short transactions, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import event, text

from marketing_service.campaigns.suppression_file import STEP
from marketing_service.campaigns.suppression_imports import SuppressionImporter, import_file
from marketing_service.errors import Unavailable
from marketing_service.store import suppression_imports as store
from marketing_service.store.audit import Actor
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import assert_adds_up, contact, launched, send_rows
from tests.support.workers import worker_environment, worker_process
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.store.suppression_imports import SuppressionImport
    from tests.support.world import World

ACTOR = Actor("acme", "ada")
STEPS = "marketing_suppression_import_steps"
PAUSE = "UPDATE marketing_campaigns SET paused_at = now(), pause_reason = 'USER'"


class Undone(Exception):
    """Rolls a transaction of the test back."""


def addresses(number: int, prefix: str = "person") -> list[str]:
    return [f"{prefix}{one}@example.com" for one in range(number)]


async def accept(world: World, people: list[str], *, actor: Actor = ACTOR, more: str = "") -> SuppressionImport:
    """Accept a file with these addresses, each with a note, and with these further rows."""
    rows = "".join(f"{address},note of {address}\n" for address in people)
    return await import_file(
        world.api.transactions, world.api.job_queue, actor=actor, file=f"email,note\n{rows}{more}".encode()
    )


async def found(owner: Database, import_id: UUID, org_id: str = "acme") -> SuppressionImport:
    async with owner.transaction() as tx:
        one = await store.find_import(tx.connection, org_id=org_id, import_id=import_id)
    assert one is not None
    return one


async def finished(owner: Database, import_id: UUID, org_id: str = "acme") -> SuppressionImport:
    async def ended() -> bool:
        return (await found(owner, import_id, org_id)).finished_at is not None

    await until(ended)
    return await found(owner, import_id, org_id)


async def fetch(owner: Database, sql: str) -> list[Any]:
    async with owner.transaction() as tx:
        return list((await tx.connection.execute(text(sql))).all())


async def suppressed(owner: Database) -> dict[tuple[str, str], str | None]:
    rows = await fetch(owner, "SELECT org_id, address, note FROM marketing_suppressions")
    return {(row.org_id, row.address): row.note for row in rows}


def expected(people: list[str], org_id: str = "acme") -> dict[tuple[str, str], str | None]:
    return {(org_id, address): f"note of {address}" for address in people}


async def execute(owner: Database, sql: str) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text(sql))


async def waits_for_lock(owner: Database) -> bool:
    sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await fetch(owner, sql))


@contextmanager
def draining_after(importer: SuppressionImporter, *, commits: int) -> Iterator[None]:
    """Drains the importer when so many transactions have been committed in the block."""
    left = commits

    def committed(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            importer.drain()

    database = importer._transactions.__self__  # type: ignore[attr-defined]  # a bound method of Database
    engine = database._engine.sync_engine
    event.listen(engine, "commit", committed)
    yield
    event.remove(engine, "commit", committed)


async def test_a_worker_adds_the_addresses_and_reports_what_it_did(world: World) -> None:
    people = addresses(2 * STEP + 10)
    campaign_id = await launched(
        world.owner, [contact(n, email=p, address=p) for n, p in enumerate([*people[::500], "x@y.example"])]
    )
    await execute(world.owner, PAUSE)
    await accept(world, people[:3])
    accepted = await accept(world, people, more="nobody,x\nPERSON1@example.com,x\n")
    assert accepted.finished_at is None
    async with world.working():
        ended = await finished(world.owner, accepted.id)
    counts = (ended.rows, ended.done, ended.added, ended.known, ended.repeated, ended.rejected_rows)
    assert counts == (2 * STEP + 12, 2 * STEP + 12, 2 * STEP + 7, 3, 1, 1)
    assert await suppressed(world.owner) == expected(people)
    origins = await fetch(world.owner, "SELECT DISTINCT reason, origin, created_by FROM marketing_suppressions")
    assert [tuple(row) for row in origins] == [("MANUAL", "CSV", "ada")]
    sends = [(row["status"], row["reason"]) for row in await send_rows(world.owner, campaign_id)]
    assert sends == [("SKIPPED", "SUPPRESSED")] * 5 + [("QUEUED", None)]
    await assert_adds_up(world.owner, campaign_id)
    assert await fetch(world.owner, f"SELECT 1 FROM {STEPS}") == []
    entries = await fetch(world.owner, "SELECT actor, action, details FROM marketing_audit ORDER BY id DESC LIMIT 2")
    file = entries[1].details.pop("file")
    assert [tuple(row) for row in entries] == [
        ("system", "import-finished", {"importId": str(accepted.id), "added": 2 * STEP + 7, "known": 3}),
        ("ada", "imported", {"importId": str(accepted.id), "rows": 2 * STEP + 12, "rejected": 1}),
    ]
    assert set(file) == {"bytes", "sha256"}


async def test_an_address_is_blocked_from_the_commit_of_its_step_on(world: World) -> None:
    """After the first step, its sends are skipped and a launch skips its addresses; those of the second step wait."""
    people = addresses(STEP + 1)
    first, last = people[0], people[-1]
    contacts = [contact(1, email=first, address=first), contact(2, email=last, address=last)]
    campaign_id = await launched(world.owner, contacts)
    accepted = await accept(world, people)
    importer = SuppressionImporter(world.worker.transactions)
    with draining_after(importer, commits=1):
        await importer.run()
    assert (await found(world.owner, accepted.id)).done == STEP
    for campaign in (campaign_id, await launched(world.owner, contacts)):
        assert [row["status"] for row in await send_rows(world.owner, campaign)] == ["SKIPPED", "QUEUED"]
        await assert_adds_up(world.owner, campaign)
    await SuppressionImporter(world.worker.transactions).run()
    assert [row["status"] for row in await send_rows(world.owner, campaign_id)] == ["SKIPPED", "SKIPPED"]
    await assert_adds_up(world.owner, campaign_id)


async def test_two_workers_do_each_step_once(world: World) -> None:
    people = addresses(20 * STEP)
    accepted = await accept(world, people)
    await asyncio.gather(*(SuppressionImporter(world.worker.transactions).run() for _ in range(3)))
    ended = await finished(world.owner, accepted.id)
    assert (ended.done, ended.added, ended.known) == (20 * STEP, 20 * STEP, 0)
    assert await suppressed(world.owner) == expected(people)


async def test_a_step_that_another_worker_has_locked_is_left_to_it(world: World) -> None:
    locked = await accept(world, addresses(STEP + 1, "locked"))
    other = await accept(world, addresses(STEP + 1, "other"), actor=Actor("globex", "bob"))
    async with world.owner.transaction() as tx:
        claimed = await store.claim_import(tx.connection, after=None, without=())
        assert claimed is not None
        assert claimed.id == locked.id
        await SuppressionImporter(world.worker.transactions).run()
        assert (await found(world.owner, locked.id)).done == 0
        assert (await found(world.owner, other.id, "globex")).finished_at is not None
    await SuppressionImporter(world.worker.transactions).run()
    assert (await found(world.owner, locked.id)).finished_at is not None


async def test_imports_of_two_organisations_take_turns(world: World) -> None:
    large = await accept(world, addresses(6 * STEP, "large"))
    small = await accept(world, addresses(STEP + 1, "small"), actor=Actor("globex", "bob"))
    importer = SuppressionImporter(world.worker.transactions)
    # Of each import two steps, and the look after the newest one.
    with draining_after(importer, commits=5):
        await importer.run()
    assert (await found(world.owner, small.id, "globex")).finished_at is not None
    assert (await found(world.owner, large.id)).done == 2 * STEP


async def test_an_import_whose_step_fails_does_not_stop_the_others(world: World) -> None:
    broken = await accept(world, addresses(2 * STEP, "broken"))
    whole = await accept(world, addresses(2 * STEP, "whole"), actor=Actor("globex", "bob"))
    await execute(world.owner, f"UPDATE {STEPS} SET notes = '{{}}' WHERE org_id = 'acme' AND number = 1")
    with structlog.testing.capture_logs() as logs:
        await SuppressionImporter(world.worker.transactions).run()
    assert [entry["import_id"] for entry in logs if entry["event"] == "import_step_failed"] == [str(broken.id)]
    assert (await found(world.owner, whole.id, "globex")).finished_at is not None
    assert ((await found(world.owner, broken.id)).done, len(await fetch(world.owner, f"SELECT 1 FROM {STEPS}"))) == (
        STEP,
        1,
    )


async def test_an_outage_of_the_database_is_raised_and_the_step_is_kept(world: World) -> None:
    accepted = await accept(world, addresses(STEP + 1))
    async with world.owner.transaction() as tx:
        # The importer waits for this lock until it is told to give up.
        await tx.connection.execute(text("LOCK TABLE marketing_suppressions"))
        running = asyncio.create_task(SuppressionImporter(world.worker.transactions).run())
        await until(lambda: waits_for_lock(world.owner))
        await execute(
            world.owner,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
        )
        with pytest.raises(Unavailable):
            await running
    assert (await found(world.owner, accepted.id)).done == 0
    await SuppressionImporter(world.worker.transactions).run()
    assert (await found(world.owner, accepted.id)).finished_at is not None


async def test_an_import_is_done_while_redis_is_away(owner: Database, database_url: str) -> None:
    """The job that wakes the importer is lost. The importer looks for imports by itself, too."""
    async with open_world(owner, database_url, "redis://127.0.0.1:9") as world:
        people = addresses(STEP + 1)
        accepted = await accept(world, people)
        async with world.working():
            ended = await finished(owner, accepted.id)
    assert ended.added == STEP + 1
    assert await suppressed(owner) == expected(people)


async def test_a_job_wakes_the_importer(owner: Database, database_url: str, redis_url: str) -> None:
    async with open_world(owner, database_url, redis_url, sweep_seconds="3600") as world, world.working():
        first = await accept(world, addresses(STEP + 1, "first"))
        await finished(owner, first.id)
        second = await accept(world, addresses(STEP + 1, "second"))
        await finished(owner, second.id)


@pytest.mark.parametrize("step", [0, 3])
async def test_a_worker_that_is_killed_in_a_step_leaves_it_to_the_next_worker(
    world: World, owner: Database, database_url: str, redis_url: str, tmp_path: Path, step: int
) -> None:
    people = addresses(4 * STEP)
    campaign_id = await launched(owner, [contact(n, email=p, address=p) for n, p in enumerate(people[1::STEP])])
    await execute(owner, PAUSE)
    environment = worker_environment(database_url=database_url, redis_url=redis_url, smtp_url=world.relay.url)
    accepted = await accept(world, people)
    with suppress(Undone):
        async with owner.transaction() as tx:
            # The worker may need longer for its start than our sessions may be idle in a transaction.
            await tx.connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            # An address of the step, not committed: the worker waits for this transaction, in the middle of the step.
            await tx.connection.execute(
                text(
                    "INSERT INTO marketing_suppressions (org_id, address, reason, origin)"
                    f" VALUES ('acme', '{people[step * STEP + 500]}', 'MANUAL', 'API')"
                )
            )
            async with worker_process(environment, tmp_path / "log") as worker:
                await until(lambda: waits_for_lock(owner))
                worker.signal(signal.SIGKILL)
                await worker.wait()
            raise Undone
    assert (await found(owner, accepted.id)).done == step * STEP
    async with worker_process(environment, tmp_path / "log"):
        ended = await finished(owner, accepted.id)
    assert (ended.done, ended.added, ended.known) == (4 * STEP, 4 * STEP, 0)
    assert await suppressed(owner) == expected(people)
    assert {row["status"] for row in await send_rows(owner, campaign_id)} == {"SKIPPED"}
    await assert_adds_up(owner, campaign_id)


async def test_old_imports_are_deleted_and_their_addresses_stay(world: World) -> None:
    old = await accept(world, ["old@example.com"])
    new = await accept(world, ["new@example.com"])
    waiting = await accept(world, addresses(STEP + 1))
    age = f"now() - interval '{store.KEPT_DAYS} days 1 hour'"
    await execute(world.owner, f"UPDATE marketing_suppression_imports SET created_at = {age}")
    await execute(world.owner, f"UPDATE marketing_suppression_imports SET finished_at = {age} WHERE id = '{old.id}'")
    await WorkerDependencies.of(world.worker).sweep.sweep()
    kept = {row.id for row in await fetch(world.owner, "SELECT id FROM marketing_suppression_imports")}
    assert kept == {new.id, waiting.id}
    assert len(await fetch(world.owner, f"SELECT 1 FROM {STEPS}")) == 2
    assert set(await suppressed(world.owner)) == {("acme", "old@example.com"), ("acme", "new@example.com")}
