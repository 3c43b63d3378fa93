"""A worker is killed before the replies to its final dots: no send is lost or doubled without a trace."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.ledger import contact, launched
from tests.support.relay import Relay, Step, call
from tests.support.workers import worker_environment, worker_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from marketing_service.db import Database
    from tests.chaos.reconcile import Reconciled
    from tests.chaos.scenario import Scenario

CONNECTIONS = 10


async def kill_repeatedly(
    scenario: Scenario,
    owner: Database,
    database_url: str,
    redis_url: str,
    log: Path,
    *,
    kills: int,
    recipients: int,
    policy: str,
) -> Reconciled:
    """Send a campaign and kill the worker several times, each time before the relay replies to a final dot."""
    async with Relay() as relay:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, ambiguous_sends=policy
        )
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
        async with worker_process(environment, log) as worker:

            def kill(_: object) -> None:
                if scenario.faults < kills and worker.running:
                    scenario.faults += 1
                    worker.signal(signal.SIGKILL)

            relay.on(Step.DOT, call(kill), every=recipients // (kills + 1))

            async def killed_and_restarted() -> bool:
                if scenario.faults >= worker.starts:
                    assert await worker.wait() == -signal.SIGKILL
                    await worker.start()
                return scenario.faults == kills

            await scenario.until(killed_and_restarted, relay, seconds=60 + 15 * kills)
            await scenario.until_sent(owner, campaign_id, relay, seconds=60 + 15 * kills)
            worker.signal(signal.SIGTERM)
            assert await worker.wait() == 0
        return await scenario.reconciled(owner, campaign_id, relay)


async def test_under_hold_a_kill_loses_and_doubles_nothing_and_an_unknown_outcome_is_unconfirmed(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    kills, recipients = (20, 10_000) if full else (2, 900)
    scenario = begin("SIGKILL, hold")
    found = await kill_repeatedly(
        scenario, owner, database_url, redis_url, tmp_path / "log", kills=kills, recipients=recipients, policy="hold"
    )
    assert scenario.faults == kills, "the run proves something only if every kill came before the reply to a final dot"
    assert found.duplicates == 0
    assert found.counters["delivered"] + found.counters["unconfirmed"] == recipients
    assert kills <= found.counters["unconfirmed"] <= kills * 2 * CONNECTIONS


@pytest.mark.full
async def test_under_resend_a_kill_loses_nothing_and_doubles_at_most_the_ambiguous(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    kills, recipients = (20, 10_000) if full else (1, 400)
    scenario = begin("SIGKILL, resend")
    found = await kill_repeatedly(
        scenario, owner, database_url, redis_url, tmp_path / "log", kills=kills, recipients=recipients, policy="resend"
    )
    assert scenario.faults == kills
    assert found.counters["delivered"] == recipients
    assert found.duplicates <= found.ambiguous <= kills * 2 * CONNECTIONS
