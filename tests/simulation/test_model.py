"""The model is the ledger: generated sequences get the same answers and the same rows from PostgreSQL and the model."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from tests.simulation.ledgers import TwoLedgers, same
from tests.simulation.steps import Step, Steps, first_rows

if TYPE_CHECKING:
    from marketing_service.db import Database
    from simulation.model.database import ModelDatabase

_STEPS = 40
_STEPS_PER_COMPARISON = 4
"""All rows are compared after so many steps; the answer of each step is compared at once."""


async def _run(database: Database | ModelDatabase, step: Step) -> Any:
    if step.is_call:
        return await step.run(database.call)
    async with database.transaction() as tx:
        return await step.run(tx.connection)


@pytest.mark.parametrize("part", range(3))
async def test_sequences_get_the_same_answers_and_rows_from_postgresql_and_from_the_model(
    owner: Database, part: int
) -> None:
    ledgers = TwoLedgers(owner)
    for seed in range(8 * part, 8 * part + 8):
        rng = random.Random(f"model {seed}")
        await ledgers.begin(first_rows(rng))
        steps = Steps(rng, ledgers.ledger.tables)
        done: list[str] = []
        for number in range(1, _STEPS + 1):
            step = steps.next()
            done.append(step.name)
            real, modelled = await _run(owner, step), await _run(ledgers.model, step)
            story = f"seed {seed}: " + "\n".join(done)
            assert same(real, modelled), f"{story}\n  PostgreSQL: {real}\n  model:      {modelled}"
            if number % _STEPS_PER_COMPARISON == 0:
                assert not await ledgers.differences(), story


async def test_two_transactions_wait_for_each_other_as_in_postgresql(owner: Database) -> None:
    """The second one starts while the first one is open, which then commits or is rolled back."""
    ledgers = TwoLedgers(owner)
    blocked = 0
    for seed in range(40):
        rng = random.Random(f"two transactions {seed}")
        await ledgers.begin(first_rows(rng))
        steps = Steps(rng, ledgers.ledger.tables)
        for _ in range(rng.randint(1, 12)):
            step = steps.next()
            await _run(owner, step)
            await _run(ledgers.model, step)
        first = steps.next()
        while first.is_call:
            first = steps.next()
        second = steps.next()
        commits = rng.random() < 0.7
        real = await _overlapping(owner, first, second, commits=commits, is_blocked=lambda: _has_waiting_lock(owner))
        modelled = await _overlapping(
            ledgers.model, first, second, commits=commits, is_blocked=lambda: _model_waits(ledgers)
        )
        story = f"seed {seed}: {first.name}, which {'commits' if commits else 'is rolled back'}; then {second.name}"
        assert same(real, modelled), f"{story}\n  PostgreSQL: {real}\n  model:      {modelled}"
        assert not await ledgers.differences(), story
        blocked += real[0]
    assert blocked > 5


class _RolledBack(Exception):
    pass


async def _overlapping(
    database: Database | ModelDatabase, first: Step, second: Step, *, commits: bool, is_blocked: Any
) -> tuple[bool, Any, Any]:
    """Whether the second step had to wait, and both answers."""
    task: asyncio.Task[Any] | None = None
    waited, answer = False, None
    try:
        async with database.transaction() as tx:
            answer = await first.run(tx.connection)
            task = asyncio.create_task(_run(database, second))
            while not task.done() and not waited:
                waited = await is_blocked()
            if not commits:
                raise _RolledBack  # noqa: TRY301 - it ends the transaction
    except _RolledBack:
        pass
    assert task is not None
    return waited, answer, await task


async def _has_waiting_lock(owner: Database) -> bool:
    async with owner.transaction() as tx:
        waiting = await tx.connection.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        )
        return bool(waiting.scalar_one())


async def _model_waits(ledgers: TwoLedgers) -> bool:
    await asyncio.sleep(0)
    return any(work.waits_for is not None for work in ledgers.ledger.open)
