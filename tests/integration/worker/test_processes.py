"""`marketing-service worker --processes N`: the processes start, restart and stop together."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from marketing_service.devstack.process import free_port
from tests.support.ledger import assert_adds_up, campaign_row, launched
from tests.support.orphans import wait_until_gone
from tests.support.relay import Relay, Step, delay, silence
from tests.support.workers import WorkerProcess, worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from marketing_service.db import Database

TIMEOUT = 60.0


def children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


async def until_true(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await until(holds, seconds=TIMEOUT)


async def until_two_run(supervisor: WorkerProcess) -> set[int]:
    await until_true(lambda: supervisor.log().count("worker_started") >= 2)
    return children(supervisor.pid)


async def test_one_signal_to_the_supervisor_drains_every_worker(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(0.05))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_run(supervisor)
            assert len(pids) == 2
            campaign_id = await launched(owner, 2000)
            await relay.until(lambda: len(relay.accepted) > 100, seconds=TIMEOUT)
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.wait(TIMEOUT) == 0
        wait_until_gone(*pids)
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"], row["deferred"]) == (0, 0, 0)
        assert 0 < row["delivered"] == len(relay.accepted) < 2000
        await assert_adds_up(owner, campaign_id)


async def test_a_signal_to_all_processes_at_once_does_not_count_as_a_second_signal(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(1.0))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_run(supervisor)
            campaign_id = await launched(owner, 300)
            await relay.until(lambda: len(relay.accepted) > 5, seconds=TIMEOUT)
            for pid in (supervisor.pid, *pids):
                os.kill(pid, signal.SIGTERM)
            assert await supervisor.wait(TIMEOUT) == 0
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"]) == (0, 0)
        assert row["delivered"] == len(relay.accepted)


async def test_a_worker_that_dies_is_restarted_and_the_campaign_is_sent(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            first = await until_two_run(supervisor)
            os.kill(min(first), signal.SIGKILL)
            await until_true(lambda: len(children(supervisor.pid) - first) == 1)
            assert "worker_exited" in supervisor.log()
            campaign_id = await launched(owner, 50)
            await until_sent(owner, campaign_id)
            supervisor.signal(signal.SIGINT)
            assert await supervisor.wait(TIMEOUT) == 0
        assert set(relay.recipients.values()) == {1}


async def until_sent(owner: Database, campaign_id: UUID) -> None:
    async def sent() -> bool:
        return bool((await campaign_row(owner, campaign_id))["status"] == "SENT")

    await until(sent, seconds=TIMEOUT)


async def test_the_workers_drain_and_exit_when_the_supervisor_is_killed(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(0.05))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_run(supervisor)
            campaign_id = await launched(owner, 2000)
            await relay.until(lambda: len(relay.accepted) > 50, seconds=TIMEOUT)
            supervisor.signal(signal.SIGKILL)
            await asyncio.to_thread(wait_until_gone, *pids, seconds=TIMEOUT)
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"]) == (0, 0)
        assert row["delivered"] == len(relay.accepted) < 2000


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_second_signal_does_not_wait_for_the_relay(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, processes: str
) -> None:
    """The relay never replies. After only one signal the worker would wait for ten minutes."""
    async with Relay() as relay:
        relay.on(Step.MAIL, silence())
        environment = worker_environment(
            database_url=database_url,
            redis_url=redis_url,
            smtp_url=relay.url,
            log_level="INFO",
            drain_seconds="600",
            smtp_timeout="600",
        )
        async with worker_process(environment, tmp_path / "log", "--processes", processes) as worker:
            await launched(owner, 20)
            await until_true(lambda: any(command.startswith("MAIL") for _, command in relay.commands))
            worker.signal(signal.SIGTERM)
            await until_true(lambda: "worker_draining" in worker.log())
            assert worker.running
            assert "drain_cut_short" not in worker.log()
            worker.signal(signal.SIGTERM)
            assert await worker.wait(TIMEOUT) == 0
            assert "drain_cut_short" in worker.log()
            assert "worker_killed" not in worker.log()


def two_free_ports() -> int:
    """The first of two consecutive ports that are both free."""
    while True:
        port = free_port()
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.bind(("127.0.0.1", port + 1))
            return port


async def test_each_process_serves_its_own_metrics(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay, httpx.AsyncClient() as client:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        port = two_free_ports()
        options = ("--processes", "2", "--metrics-port", str(port))
        async with worker_process(environment, tmp_path / "log", *options) as supervisor:
            await until_two_run(supervisor)
            campaign_id = await launched(owner, 300)
            await until_sent(owner, campaign_id)
            scraped = [await scrape(client, port), await scrape(client, port + 1)]
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.wait(TIMEOUT) == 0
    accepted = "marketing_submissions_total{outcome=ACCEPTED,phase=DOT}"
    assert sum(samples.get(accepted, 0) for samples in scraped) == 300
    assert sum(samples["marketing_submission_seconds_count"] for samples in scraped) == 300
    assert sum(samples["marketing_results_refused_by_fence_total"] for samples in scraped) == 0
    assert all(samples["process_resident_memory_bytes"] > 0 for samples in scraped)
    # A series that begins with its first event would have no increase.
    assert scraped[0]["marketing_relay_pauses_total{reason=RELAY_DOWN}"] == 0
    assert {"marketing_relay_connections_open", "marketing_batches_running", "marketing_rate_waits_total"} <= set(
        scraped[0]
    )


async def scrape(client: httpx.AsyncClient, port: int) -> dict[str, float]:
    text = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
    return {
        sample.name
        + (f"{{{','.join(f'{key}={value}' for key, value in sample.labels.items())}}}" if sample.labels else ""): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_metrics_port_in_use_is_an_error_of_one_line(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with Relay() as relay:
        environment = worker_environment(database_url=database_url, redis_url=redis_url, smtp_url=relay.url)
        async with worker_process(environment, tmp_path / "log", "--metrics-port", str(relay.port)) as worker:
            assert await worker.wait(TIMEOUT) == 2
            assert worker.log().splitlines()[-1].startswith("marketing-service: metrics cannot be served at 127.0.0.1")
