"""A worker is frozen until after its lease while another one works, then thaws: what it writes then has no effect."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.errors import Unavailable
from tests.support.ledger import audit_moves, contact, illegal_moves, launched, send_rows
from tests.support.relay import Now, Relay, Step, answer, call, delay
from tests.support.workers import worker_environment, worker_process
from tests.support.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

CONNECTIONS = 10


async def freeze_once(
    scenario: Scenario,
    owner: Database,
    database_url: str,
    redis_url: str,
    folder: Path,
    *,
    recipients: int,
    amid: bool,
) -> None:
    """Freeze the only worker before the replies to its final dots, and thaw it: `amid` the work of the other worker, or
    after it.

    Half of the replies that wait for the frozen worker are refusals, so it tries to defer sends that have an outcome
    by then. A 250 among them is proof of delivery: it may still change UNCONFIRMED to DELIVERED.
    """
    async with Relay() as relay:
        environment = worker_environment(database_url=database_url, redis_url=redis_url, smtp_url=relay.url)
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
        async with worker_process(environment, folder / "frozen.log") as frozen:
            frozen_at: list[int] = []

            def freeze(_: Now) -> None:
                if not frozen_at:
                    frozen.signal(signal.SIGSTOP)
                    frozen_at.append(relay.connections)

            relay.on(Step.DOT, call(freeze, then=answer(451, "4.3.0 Later")), nth=recipients // 4)
            relay.on(Step.DOT, answer(451, "4.3.0 Later"), when=lambda now: bool(frozen_at) and _odd(now, frozen_at))
            relay.on(Step.DOT, delay(0.02))

            async def is_frozen() -> bool:
                return bool(frozen_at)

            async def is_refused() -> bool:
                return "results_refused_by_fence" in frozen.log()

            await scenario.until(is_frozen, relay, seconds=60)
            async with worker_process(environment, folder / "other.log") as other:

                async def is_settled() -> bool:
                    return "lease_expired" in other.log() and len(relay.accepted) > recipients // 2

                if amid:
                    await scenario.until(is_settled, relay, seconds=60)
                else:
                    await scenario.until_sent(owner, campaign_id, relay, seconds=120)
                settled = await send_rows(owner, campaign_id)
                assert 1 <= sum(row["status"] == "UNCONFIRMED" for row in settled) <= 2 * CONNECTIONS
                frozen.signal(signal.SIGCONT)
                await scenario.until(is_refused, relay, seconds=60)
                scenario.faults += 1
                await scenario.until_sent(owner, campaign_id, relay, seconds=120)
                for worker in (frozen, other):
                    worker.signal(signal.SIGTERM)
                    assert await worker.wait(60) == 0
        found = await scenario.reconciled(owner, campaign_id, relay)
    for before, after in zip(settled, found.rows, strict=True):
        proven = before["status"] == "UNCONFIRMED" and after["status"] == "DELIVERED"
        assert amid or after == before or proven, "a stale write"
    assert found.duplicates == 0
    assert found.counters["delivered"] + found.counters["unconfirmed"] == recipients


def _odd(now: Now, frozen_at: list[int]) -> bool:
    """Whether this is one of every second connection of the frozen worker."""
    return now.connection <= frozen_at[0] and now.connection % 2 == 1


async def test_a_worker_that_thaws_after_its_lease_writes_nothing_stale(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    await audit_moves(owner)
    scenario = begin("SIGSTOP past the lease, SIGCONT")
    rounds, recipients = (10, 1_000) if full else (1, 300)
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        await freeze_once(scenario, owner, database_url, redis_url, folder, recipients=recipients, amid=number % 2 == 1)
    assert await illegal_moves(owner) == set()


@pytest.mark.full
async def test_a_worker_frozen_inside_a_transaction_blocks_no_other(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario]
) -> None:
    """The transaction locks the campaign's row until PostgreSQL ends it because it is idle.

    The service commits results by calls that are complete transactions, so the test opens this one itself.
    """
    recipients = 1_000
    scenario = begin("frozen inside a transaction")
    async with (
        Relay() as relay,
        open_world(owner, database_url, redis_url, smtp_url=relay.url, lease_seconds="2") as world,
    ):
        relay.on(Step.DOT, delay(0.02))
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])

        async def freeze_inside() -> None:
            async with world.worker.transactions() as frozen:
                await frozen.connection.execute(
                    text("SELECT FROM marketing_campaigns WHERE id = :id FOR UPDATE"), {"id": campaign_id}
                )
                assert len(relay.accepted) < recipients
                scenario.faults += 1
                await scenario.until_sent(owner, campaign_id, relay, seconds=120)
                await frozen.connection.execute(text("SELECT 1"))

        async with world.working():
            await relay.until(lambda: len(relay.accepted) > recipients // 10)
            with pytest.raises(Unavailable):
                await freeze_inside()
        found = await scenario.reconciled(owner, campaign_id, relay)
    assert found.duplicates == 0
    assert found.counters["delivered"] + found.counters["unconfirmed"] == recipients
    assert found.ambiguous <= 2 * CONNECTIONS
