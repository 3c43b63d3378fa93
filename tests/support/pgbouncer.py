"""A PgBouncer for one test (Debian's package, with its default settings unless a test changes them)."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from marketing_service.devstack.process import free_port
from tests.support.accepting import until_it_accepts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

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


_DEFAULT = Path("/etc/pgbouncer/pgbouncer.ini")
"""Debian's configuration."""


@asynccontextmanager
async def pgbouncer(database_url: str, settings: str) -> AsyncIterator[str]:
    """A PgBouncer before the server of `database_url`. `settings` are lines of pgbouncer.ini. Yields the URL of the
    database through it."""
    server = urlsplit(database_url)
    port = free_port()
    values = {"host": server.hostname, "port": server.port, "user": server.username, "password": server.password}
    users = f'"{server.username}" "{server.password}"\n'
    with _folder() as folder:
        ini = _SETTINGS.format(**values, listen_port=port, folder=folder, settings=settings)
        async with _running(folder, port, ini, users):
            yield urlunsplit(server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}"))


@asynccontextmanager
async def of_debian(databases: str, users: str) -> AsyncIterator[int]:
    """A PgBouncer with Debian's configuration, except for what names a place of the machine. `databases` are lines of
    its section, `users` is its userlist.txt. Yields its port on 127.0.0.1."""
    port = free_port()
    with _folder() as folder:
        places = {
            "logfile": f"{folder}/log",
            "pidfile": f"{folder}/pid",
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "unix_socket_dir": "",
            "auth_file": f"{folder}/users",
        }
        async with _running(folder, port, _debian_ini(databases, places), users):
            yield port


def _debian_ini(databases: str, places: Mapping[str, str]) -> str:
    ini = _DEFAULT.read_text(encoding="utf-8").replace("[databases]\n", f"[databases]\n{databases}\n", 1)
    for name, place in places.items():
        ini, found = re.subn(rf"^{name} = .*$", f"{name} = {place}", ini, flags=re.MULTILINE)
        assert found == 1, f"{_DEFAULT} has no {name}"
    return ini


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir="/tmp") as name:
        yield Path(name)


@asynccontextmanager
async def _running(folder: Path, port: int, ini: str, users: str) -> AsyncIterator[None]:
    file = folder / "pgbouncer.ini"
    file.write_text(ini)
    (folder / "users").write_text(users)
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
        await until_it_accepts(process, port, name="PgBouncer")
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _has_account(name: str) -> bool:
    return any(line.startswith(f"{name}:") for line in Path("/etc/passwd").read_text().splitlines())
