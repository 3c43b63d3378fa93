"""A PgBouncer for one test (Debian's package, with its default settings unless a test changes them)."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from marketing_service.devstack.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = "/usr/sbin/pgbouncer"
_ACCOUNT = "postgres"

_SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
{settings}
"""


def missing() -> str | None:
    """The reason why this machine cannot run a PgBouncer, or None if it can."""
    return None if os.access(COMMAND, os.X_OK) else f"{COMMAND} is not installed (Debian's package pgbouncer)"


@asynccontextmanager
async def pgbouncer(database_url: str, settings: str) -> AsyncIterator[str]:
    """A PgBouncer before the server of `database_url`. `settings` are lines of pgbouncer.ini. Yields the URL of the
    database through it."""
    server = urlsplit(database_url)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
        values = {"host": server.hostname, "port": server.port, "user": server.username, "password": server.password}
        file = folder / "pgbouncer.ini"
        file.write_text(_SETTINGS.format(**values, listen_port=port, folder=folder, settings=settings))
        command = [COMMAND, str(file)]
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            account = _ACCOUNT if _has_account(_ACCOUNT) else "nobody"
            for path in (folder, folder / "users", file):
                shutil.chown(path, account)
            command = [COMMAND, "-u", account, str(file)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await _until_it_accepts(port)
            yield urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"))
        finally:
            process.kill()
            await process.wait()


def _has_account(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in Path("/etc/passwd").read_text().splitlines())


async def _until_it_accepts(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
