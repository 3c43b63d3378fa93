"""`marketing-service worker --processes N`: started, started again, and stopped together."""

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

PATIENCE = 60.0


def children(pid: int) -> set[int]:
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


async def until_so(reached: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return reached()

    await until(asked, seconds=PATIENCE)


async def until_two_work(supervisor: WorkerProcess) -> set[int]:
    await until_so(lambda: supervisor.log().count("worker_started") >= 2)
    return children(supervisor.pid)


async def test_one_signal_to_the_supervisor_drains_them_all(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(0.05))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_work(supervisor)
            assert len(pids) == 2
            campaign_id = await launched(owner, 2000)
            await relay.until(lambda: len(relay.accepted) > 100, seconds=PATIENCE)
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.wait(PATIENCE) == 0
        wait_until_gone(*pids)
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"], row["deferred"]) == (0, 0, 0)
        assert 0 < row["delivered"] == len(relay.accepted) < 2000
        await assert_adds_up(owner, campaign_id)


async def test_a_signal_to_all_at_once_as_service_managers_send_it_is_no_second_one(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(1.0))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_work(supervisor)
            campaign_id = await launched(owner, 300)
            await relay.until(lambda: len(relay.accepted) > 5, seconds=PATIENCE)
            for pid in (supervisor.pid, *pids):
                os.kill(pid, signal.SIGTERM)
            assert await supervisor.wait(PATIENCE) == 0
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"]) == (0, 0)
        assert row["delivered"] == len(relay.accepted)


async def test_one_that_dies_is_started_again_and_the_work_is_done(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            first = await until_two_work(supervisor)
            os.kill(min(first), signal.SIGKILL)
            await until_so(lambda: len(children(supervisor.pid) - first) == 1)
            assert "worker_ended" in supervisor.log()
            campaign_id = await launched(owner, 50)
            await until_sent(owner, campaign_id)
            supervisor.signal(signal.SIGINT)
            assert await supervisor.wait(PATIENCE) == 0
        assert set(relay.recipients.values()) == {1}


async def until_sent(owner: Database, campaign_id: UUID) -> None:
    async def sent() -> bool:
        return bool((await campaign_row(owner, campaign_id))["status"] == "SENT")

    await until(sent, seconds=PATIENCE)


async def test_when_the_supervisor_is_killed_its_workers_drain_and_end(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay:
        relay.on(Step.DOT, delay(0.05))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        async with worker_process(environment, tmp_path / "log", "--processes", "2") as supervisor:
            pids = await until_two_work(supervisor)
            campaign_id = await launched(owner, 2000)
            await relay.until(lambda: len(relay.accepted) > 50, seconds=PATIENCE)
            supervisor.signal(signal.SIGKILL)
            await asyncio.to_thread(wait_until_gone, *pids, seconds=PATIENCE)
        row = await campaign_row(owner, campaign_id)
        assert (row["sending"], row["unconfirmed"]) == (0, 0)
        assert row["delivered"] == len(relay.accepted) < 2000


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_a_second_signal_does_not_wait_for_the_relay(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path, processes: str
) -> None:
    """It never answers; the first signal alone would wait for ten minutes."""
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
            await until_so(lambda: any(command.startswith("MAIL") for _, command in relay.commands))
            worker.signal(signal.SIGTERM)
            await until_so(lambda: "worker_draining" in worker.log())
            await asyncio.sleep(0.5)
            assert worker.running
            worker.signal(signal.SIGTERM)
            assert await worker.wait(PATIENCE) == 0
            assert "drain_cut_short" in worker.log()
            assert "worker_killed" not in worker.log()


def two_free_ports() -> int:
    """The first of two ports, one after the other, that nobody listens on now."""
    while True:
        port = free_port()
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.bind(("127.0.0.1", port + 1))
            return port


async def test_each_process_shows_what_it_did(
    owner: Database, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with Relay() as relay, httpx.AsyncClient() as client:
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, log_level="INFO"
        )
        port = two_free_ports()
        options = ("--processes", "2", "--metrics-port", str(port))
        async with worker_process(environment, tmp_path / "log", *options) as supervisor:
            await until_two_work(supervisor)
            campaign_id = await launched(owner, 300)
            await until_sent(owner, campaign_id)
            shown = [await scrape(client, port), await scrape(client, port + 1)]
            supervisor.signal(signal.SIGTERM)
            assert await supervisor.wait(PATIENCE) == 0
    accepted = "marketing_submissions_total{outcome=ACCEPTED,phase=DOT}"
    assert sum(samples.get(accepted, 0) for samples in shown) == 300
    assert sum(samples["marketing_submission_seconds_count"] for samples in shown) == 300
    assert sum(samples["marketing_results_refused_by_fence_total"] for samples in shown) == 0
    assert all(samples["process_resident_memory_bytes"] > 0 for samples in shown)
    assert {"marketing_relay_connections_open", "marketing_batches_running", "marketing_rate_waits_total"} <= set(
        shown[0]
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


async def test_a_port_that_is_taken_is_said_in_one_line(database_url: str, redis_url: str, tmp_path: Path) -> None:
    async with Relay() as relay:
        environment = worker_environment(database_url=database_url, redis_url=redis_url, smtp_url=relay.url)
        async with worker_process(environment, tmp_path / "log", "--metrics-port", str(relay.port)) as worker:
            assert await worker.wait(PATIENCE) == 2
            assert worker.log().splitlines()[-1].startswith("marketing-service: metrics cannot be shown at 127.0.0.1")
