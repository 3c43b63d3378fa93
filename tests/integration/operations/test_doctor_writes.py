"""`doctor` tries a write, as /readyz and a worker do: what it says of a PostgreSQL that takes none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import free_port
from marketing_service.operations.doctor import Finding, Level, examine
from tests.support.fixtures import migrate
from tests.support.postgres_servers import run
from tests.support.small_disk import missing, small_disk
from tests.support.world import make_settings

if TYPE_CHECKING:
    from pathlib import Path


async def finding(database_url: str) -> Finding:
    """The finding about PostgreSQL. Nothing else of this installation answers."""
    closed = f"127.0.0.1:{free_port()}"
    settings = make_settings(
        database_url=database_url, redis_url=f"redis://{closed}/0", crm_url=f"http://{closed}", dns_resolver=closed
    )
    found = await examine(settings, {}, processes=("worker",), org_id=None)
    (one,) = [finding for finding in found if finding.part == "postgresql (worker)"]
    return one


async def test_a_read_only_server_is_an_error(database_url: str) -> None:
    found = await finding(f"{database_url}?options=-cdefault_transaction_read_only%3Don")
    assert found.level is Level.ERROR
    assert "read-only" in found.text


async def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    if reason := missing(tmp_path):
        pytest.skip(reason)
    server = PostgresServer(tmp_path / "postgres", durable=False)
    with server:
        await asyncio.to_thread(migrate, server.url())
        await run(server, "ALTER SYSTEM SET min_wal_size = '32MB'", "ALTER SYSTEM SET max_wal_size = '48MB'")
    with small_disk(server.data_dir / "cluster" / "base", megabytes=96) as disk, server:
        assert (await finding(server.url())).level is Level.OK
        disk.fill()
        found = await finding(server.url())
        disk.free()
    assert found.level is Level.ERROR
    assert "has no disk space left" in found.text
