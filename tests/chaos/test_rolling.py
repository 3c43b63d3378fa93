"""A rolling deploy: workers stop while others start. A worker that stops finishes the submissions on the wire only."""

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

DRAIN_SECONDS = 60
REPLY_SECONDS = 0.5
"""The relay is slow, but far quicker than the time limit of a drain."""


class Deploy:
    """A relay that stops a worker before the reply to a final dot of that worker, and that keeps the campaign from
    ending before the last worker is stopped."""

    def __init__(self, scenario: Scenario, relay: Relay, *, stops: int, recipients: int) -> None:
        self.scenario = scenario
        self._relay = relay
        self._share = recipients // (stops + 1)
        self._stopping: WorkerProcess | None = None
        self._since = 0
        relay.on(Step.DOT, call(self._send_signal, then=delay(REPLY_SECONDS)), when=self._is_due)
        relay.on(Step.DOT, delay(REPLY_SECONDS), when=self._is_ahead)
        relay.on(Step.DOT, delay(0.01))

    def stop(self, worker: WorkerProcess) -> None:
        """Stop this worker at a final dot that arrives after two messages on each open connection."""
        self._stopping = worker
        self._since = len(self._relay.accepted)

    @property
    def is_due_to_stop(self) -> bool:
        return self._stopping is not None

    def _is_due(self, now: Now) -> bool:
        return self._stopping is not None and len(self._relay.accepted) - self._since >= 2 * self._relay.open

    def _is_ahead(self, now: Now) -> bool:
        return len(self._relay.accepted) > self._share * (self.scenario.faults + 1)

    def _send_signal(self, now: Now) -> None:
        assert self._stopping is not None
        self._stopping.signal(signal.SIGTERM)
        self._stopping = None
        self.scenario.faults += 1


async def test_a_rolling_deploy_loses_nothing_doubles_nothing_and_leaves_nothing_unconfirmed(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Every second worker starts before its predecessor is stopped, the others after their predecessor has ended."""
    stops, recipients = (30, 10_000) if full else (2, 500)
    scenario = begin("SIGTERM, rolling deploy")
    async with Relay() as relay, AsyncExitStack() as workers:
        environment = worker_environment(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=relay.url,
            drain_seconds=str(DRAIN_SECONDS),
            lease_seconds="60",
            log_level="INFO",
        )
        campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
        deploy = Deploy(scenario, relay, stops=stops, recipients=recipients)

        async def started(number: int) -> WorkerProcess:
            worker = await workers.enter_async_context(worker_process(environment, tmp_path / f"log{number}"))

            async def is_running() -> bool:
                return "worker_started" in worker.log()

            await scenario.until(is_running, relay, seconds=60)
            return worker

        async def signalled() -> bool:
            return not deploy.is_due_to_stop

        old = await started(0)
        for number in range(1, stops + 1):
            before = await started(number) if number % 2 else None
            deploy.stop(old)
            await scenario.until(signalled, relay, seconds=60)
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
