"""A rolling deploy: workers are told to stop while others start. What is on the wire is finished, nothing else."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.support.ledger import contact, launched
from tests.support.relay import Now, Relay, Step, call, delay
from tests.support.workers import WorkerProcess, worker_environment, worker_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

DRAIN_SECONDS = 20
ANSWER_SECONDS = 0.5
"""The relay is slow, and far quicker than a drain lasts."""


class Deploy:
    """A relay that tells a worker to stop while a final dot of its own is unanswered, and that keeps the campaign
    from ending before the last worker was told."""

    def __init__(self, scenario: Scenario, relay: Relay, *, stops: int, recipients: int) -> None:
        self.scenario = scenario
        self._relay = relay
        self._share = recipients // (stops + 1)
        self._told: WorkerProcess | None = None
        self._since = 0
        relay.on(Step.DOT, call(self._tell, then=delay(ANSWER_SECONDS)), when=self._is_due)
        relay.on(Step.DOT, delay(ANSWER_SECONDS), when=self._is_ahead)
        relay.on(Step.DOT, delay(0.01))

    def tell(self, worker: WorkerProcess) -> None:
        """At the next final dot, on a connection it may have opened, this one is to stop."""
        self._told = worker
        self._since = len(self._relay.accepted)

    @property
    def waits(self) -> bool:
        return self._told is not None

    def _is_due(self, now: Now) -> bool:
        return self._told is not None and len(self._relay.accepted) - self._since >= 2 * self._relay.open

    def _is_ahead(self, now: Now) -> bool:
        return len(self._relay.accepted) > self._share * (self.scenario.faults + 1)

    def _tell(self, now: Now) -> None:
        assert self._told is not None
        self._told.signal(signal.SIGTERM)
        self._told = None
        self.scenario.faults += 1


async def test_a_rolling_deploy_loses_nothing_doubles_nothing_and_leaves_nothing_unconfirmed(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Every other worker starts before the one it replaces is told to stop, the rest after that one's end."""
    stops, recipients = (30, 10_000) if full else (2, 500)
    scenario = begin("SIGTERM, rolling deploy")
    async with Relay() as relay, AsyncExitStack() as workers:
        environment = worker_environment(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=relay.url,
            drain_seconds=str(DRAIN_SECONDS),
            log_level="INFO",
        )
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
        deploy = Deploy(scenario, relay, stops=stops, recipients=recipients)

        async def started(number: int) -> WorkerProcess:
            worker = await workers.enter_async_context(worker_process(environment, tmp_path / f"log{number}"))

            async def works() -> bool:
                return "worker_started" in worker.log()

            await scenario.until(works, relay, seconds=60)
            return worker

        async def told() -> bool:
            return not deploy.waits

        old = await started(0)
        for number in range(1, stops + 1):
            before = await started(number) if number % 2 else None
            deploy.tell(old)
            await scenario.until(told, relay, seconds=60)
            assert await old.wait(DRAIN_SECONDS + 20) == 0
            assert "drain_cut_short" not in old.log()
            old = before or await started(number)
        await scenario.until_sent(owner, campaign_id, relay, seconds=120)
        old.signal(signal.SIGTERM)
        assert await old.wait() == 0
        found = await scenario.reconciled(owner, campaign_id, relay)
    assert scenario.faults == stops
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients
    assert {row["attempts"] for row in found.rows} == {1}
