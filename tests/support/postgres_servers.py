"""What tests do to embedded PostgreSQL servers: statements of the superuser, crashes, standbys and their promotion."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from marketing_service.devstack import postgres, postgres_programs
from tests.support.orphans import descendants, wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path


async def run(server: postgres.PostgresServer, *statements: str) -> None:
    connection = await asyncpg.connect(server.url())
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def crash(server: postgres.PostgresServer) -> None:
    """End every process of the server with SIGKILL. What it has not written to its files is lost."""
    pids = [server.pid, *descendants(server.pid)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop()
    wait_until_gone(*pids)


def make_standby(primary: postgres.PostgresServer, folder: Path, *, port: int = 0) -> postgres.PostgresServer:
    """Copy the primary into `folder`, and start the copy as its standby. What was in the folder is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(primary.data_dir / "password", folder / "password")
    parts = urlsplit(primary.url())
    cluster = folder / "cluster"
    # As in docs/operating.md, and faster.
    source = (
        f"host=127.0.0.1 port={parts.port} user={parts.username} password={parts.password} application_name=standby"
    )
    command = ["pg_basebackup", "-d", source, "-D", str(cluster), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
    environment = postgres._environment_without_pg()
    subprocess.run(command, executable=postgres_programs.programs() / "pg_basebackup", env=environment, check=True)
    owner = (primary.data_dir / "cluster").stat()
    for path in (cluster, *cluster.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    standby = postgres.PostgresServer(folder, port=port, durable=False)
    standby.start()
    return standby


async def require_standby(primary: postgres.PostgresServer) -> None:
    """From now on, a commit of the primary waits for its standby. Returns once the standby receives all commits."""
    await run(primary, "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby)'", "SELECT pg_reload_conf()")
    connection = await asyncpg.connect(primary.url())
    try:
        # This commit waits for the standby, too.
        await connection.execute("SET synchronous_commit = on; CREATE TABLE synchronous ()")
        await connection.execute("DROP TABLE synchronous")
        assert await connection.fetchval("SELECT sync_state FROM pg_stat_replication") == "sync"
    finally:
        await connection.close()


async def promote(standby: postgres.PostgresServer) -> None:
    """Make the standby a primary. Returns once it takes writes."""
    await run(standby, "SELECT pg_promote()")
