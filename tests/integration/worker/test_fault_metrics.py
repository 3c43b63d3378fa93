"""The metrics of a worker about faults outside of the sending: each counts what the log says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
from alembic import command
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from marketing_service.campaigns.suppression_file import STEP
from marketing_service.campaigns.suppression_imports import import_file
from marketing_service.devstack.process import free_port
from marketing_service.store.audit import Actor
from tests.support.fixtures import alembic_config, migrate
from tests.support.workers import worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.world import World

WAITING = "marketing_worker_waiting", ""
LAUNCHES = "marketing_launches_failed_total", "SMTP_NOT_CONFIGURED"
IMPORTS = "marketing_import_steps_failed_total", ""
SWEEPS = "marketing_tasks_failed_total", "sweep"
RESENDS = "marketing_tasks_failed_total", "resends"
# An error that nobody expects: in each step of an import, when a bulk resend is claimed, and in the sweep, which
# forgets old responses each time.
BREAK = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON marketing_suppressions EXECUTE FUNCTION refuse()",
    "CREATE TRIGGER refuse BEFORE UPDATE ON marketing_resends EXECUTE FUNCTION refuse()",
    "CREATE TRIGGER refuse BEFORE DELETE ON marketing_idempotency_keys EXECUTE FUNCTION refuse()",
)


async def test_a_wait_a_failed_launch_a_failed_import_and_a_failed_task_are_shown(
    world: World, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    await asyncio.to_thread(command.downgrade, alembic_config(database_url), "0009")
    port = free_port()
    environment = worker_environment(database_url=database_url, redis_url=redis_url, smtp_url="")
    async with (
        worker_process(environment, tmp_path / "log", "--metrics-port", str(port)) as worker,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def until_it_shows(series: tuple[str, str], least: float) -> None:
            async def shows() -> bool:
                assert worker.running, worker.log()
                return (await shown(client)).get(series, -1.0) >= least

            await until(shows, seconds=60)

        async def works() -> bool:
            return (await shown(client))[WAITING] == 0

        await until_it_shows(WAITING, 1)
        first = await shown(client)
        assert {series: first[series] for series in (LAUNCHES, IMPORTS, SWEEPS)} == {LAUNCHES: 0, IMPORTS: 0, SWEEPS: 0}
        await asyncio.to_thread(migrate, database_url)
        await until(works, seconds=60)

        await world.launch()
        await until_it_shows(LAUNCHES, 1)

        async with world.owner.transaction() as tx:
            for statement in BREAK:
                await tx.connection.execute(text(statement))
        rows = "".join(f"person{number}@example.com,note\n" for number in range(2 * STEP))
        content = f"email,note\n{rows}".encode()
        await import_file(world.api.transactions, world.api.job_queue, actor=Actor("acme", "ada"), file=content)
        for series in (IMPORTS, SWEEPS, RESENDS):
            await until_it_shows(series, 2)  # the task goes on after an error


async def shown(client: httpx.AsyncClient) -> dict[tuple[str, str], float]:
    """The values by metric and label."""
    try:
        page = (await client.get("/metrics")).raise_for_status().text
    except httpx.ConnectError:
        return {}
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
