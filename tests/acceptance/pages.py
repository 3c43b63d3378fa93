"""Runs the commands of the operator's pages in docs/, block by block, in one shell, on servers of the test."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.postgres_programs import programs, programs_for
from marketing_service.devstack.process import Account, free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ports import Contact, ContactStatus
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.postfix import missing, postfix
from tests.support.project import ROOT
from tests.support.relay import Relay
from tests.support.sql import execute_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGES = ("first-production", "upgrade", "restore", "key-rotation", "failover")
"""In the order in which one shell can run them."""
RUN, BY_HAND = "sh", "sh by-hand"
FILES = ("ini", "text")
"""Blocks with lines of a file, which a test reads."""
ONLY_BY_HAND = ("systemctl", "kubectl")
"""The programs that no test can run. A block that is run by hand has nothing else."""
PROGRAMS = ("redis-cli", "jq", "curl")
ABSENT = [program for program in PROGRAMS if shutil.which(program) is None]
TEAM = 25
_SECONDS = 120
_FENCE = re.compile(r"^```(.*)\n((?:(?!^```).*\n)*?)^```$", re.MULTILINE)
_AS_POSTGRES = ("pg_ctl", "pg_basebackup", "cp")
"""What the pages run as the user of PostgreSQL."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"docs/{self.page}.md, line {self.line}"


def blocks(page: str) -> list[Block]:
    """All fenced blocks of docs/`page`.md."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    found = [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in _FENCE.finditer(text)]
    assert 2 * len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)), f"docs/{page}.md has another kind of block"
    return found


@dataclass
class Installation:
    """The empty servers that the pages name, and the places of these names."""

    folder: Path
    """The folder of the shell."""
    shared: Path
    """A folder that the user of PostgreSQL can write to."""
    postgres: PostgresServer
    crm: CrmServer
    inbox: Relay
    second_inbox: Relay
    """Behind the relay that takes the place of the first one."""
    places: dict[str, str] = field(default_factory=dict)

    def located(self, text: str) -> str:
        """The text with places instead of names."""
        for name, place in self.places.items():
            # A number is a port, so it is no part of a longer number.
            pattern = rf"\b{name}\b" if name.isdecimal() else re.escape(name)
            text = re.sub(pattern, lambda _, place=place: place, text)  # type: ignore[misc]
        return text


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[Installation]:
    """Start the servers, and stop them at the end."""
    async with AsyncExitStack() as stack:
        shared = Path(tempfile.mkdtemp(prefix="pages-", dir="/tmp"))
        stack.callback(shutil.rmtree, shared, ignore_errors=True)
        account = _account()
        if account is not None:
            os.chown(shared, account.uid, account.gid)
        postgres = PostgresServer(shared / "postgres", durable=False)
        valkeys = ValkeyServer(folder / "valkey"), ValkeyServer(folder / "valkey2")
        for server in (postgres, *valkeys):
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
        await asyncio.to_thread(postgres.drop_database, "marketing")
        with (postgres.data_dir / "cluster" / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write("max_connections = 200\n")  # as its command line says: a standby has no such line
        await execute_now(
            postgres.url("postgres"),
            "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'ADMIN-PASSWORD'",
            "CREATE ROLE postgres LOGIN SUPERUSER PASSWORD 'SUPERUSER-PASSWORD'",
        )
        crm = await stack.enter_async_context(CrmServer())
        crm.statuses = [ContactStatus("TEAM", "Team"), ContactStatus("LEAD", "Lead")]
        crm.contacts = {"acme": _team()}
        inbox, second_inbox = [await stack.enter_async_context(Relay()) for _ in range(2)]
        relay_port = inbox.port
        if missing() is None:  # a real relay before the inbox
            relay_port = free_port()
            await stack.enter_async_context(postfix(port=relay_port, next_hop=inbox.port))
        found = Installation(folder, shared, postgres, crm, inbox, second_inbox)
        standby = free_port()
        found.places = {
            "/var/lib/postgresql/primary": str(shared / "postgres" / "cluster"),
            "/var/lib/postgresql": str(shared),
            "db.example.com:5432": f"127.0.0.1:{postgres.port}",
            "host=db.example.com port=5432": f"host=127.0.0.1 port={postgres.port}",
            "db2.example.com:5432": f"127.0.0.1:{standby}",
            "-p 5432": f"-p {standby}",
            "redis.example.com:6379": f"127.0.0.1:{valkeys[0].port}",
            "redis.example.com 6379": f"127.0.0.1 {valkeys[0].port}",
            "redis2.example.com:6379": f"127.0.0.1:{valkeys[1].port}",
            "relay.example.com:587": f"127.0.0.1:{relay_port}",
            "relay2.example.com:587": f"127.0.0.1:{second_inbox.port}",
            "http://crm.example.com:80": crm.url,
            "CRM-TOKEN": TOKEN,
            **{port: str(free_port()) for port in _ports()},
        }
        yield found


def _ports() -> list[str]:
    """The ports of our own processes and of the restored server."""
    text = "".join(block.text for page in PAGES for block in blocks(page) if block.language == RUN)
    return sorted(set(re.findall(r"\b(?:80[0-9][0-9]|91[0-9][0-9]|5433)\b", text)))


def _team() -> list[Contact]:
    return [
        Contact(f"c{number:03}", f"p{number}@example.net", "Ann", "Lee", None, "TEAM", marketing_opt_out=False)
        for number in range(TEAM)
    ]


class Shell:
    """A shell that runs the blocks of the pages. It ends at the first command that fails."""

    def __init__(self, installed: Installation, process: asyncio.subprocess.Process) -> None:
        self._installed = installed
        self._process = process
        self.output = ""

    async def page(self, name: str) -> None:
        """Run every block of a page that can be run."""
        for block in blocks(name):
            await self.block(block)

    async def block(self, block: Block) -> None:
        if block.language == RUN:
            await self.run(block.text, block.place)

    async def run(self, script: str, place: str) -> str:
        """Run a script, and return what it printed. Fails with that output if a command fails."""
        file = self._installed.shared / "block.sh"
        file.write_text(self._installed.located(script), encoding="utf-8")
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f". {file} < /dev/null\nprintf '\\036'\n".encode())
        printed = b""
        try:
            async with asyncio.timeout(_SECONDS):
                await stdin.drain()
                while not printed.endswith(b"\x1e"):
                    chunk = await stdout.read(65536)
                    assert chunk, f"{place} failed:\n{self.output}{printed.decode()}\n{self._logs()}"
                    printed += chunk
        except (TimeoutError, ConnectionError):
            raise AssertionError(f"{place} did not end:\n{self.output}{printed.decode()}\n{self._logs()}") from None
        text = printed.decode().removesuffix("\x1e")
        self.output += text
        return text

    def _logs(self) -> str:
        """The ends of the logs of the page's processes."""
        logs = [*self._installed.folder.glob("*.log"), *self._installed.shared.glob("*.log")]
        return "\n".join(f"== {log.name}\n{log.read_text(encoding='utf-8')[-1500:]}" for log in logs)


@asynccontextmanager
async def shell(installed: Installation) -> AsyncIterator[Shell]:
    """A shell in the folder of the installation. At the end it is killed, with everything that it has started."""
    path = f"{_wrappers(installed)}:{ROOT / '.venv' / 'bin'}:{programs()}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail",
        cwd=installed.folder, env={"PATH": path, "HOME": str(installed.folder)}, start_new_session=True,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield Shell(installed, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid_file in installed.shared.glob("*/postmaster.pid"):  # these servers have sessions of their own
            with suppress(ProcessLookupError):
                os.kill(int(pid_file.read_text(encoding="ascii").split("\n")[0]), signal.SIGQUIT)
        await process.communicate()  # reads what is left: a full pipe would never end


def _account() -> Account | None:
    """The user of PostgreSQL, if it is not ours."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres" if any(found.pw_name == "postgres" for found in pwd.getpwall()) else "nobody")
    return Account(entry.pw_uid, entry.pw_gid)


def _wrappers(installed: Installation) -> Path:
    """A folder with programs that run as the user of PostgreSQL, if root runs the test."""
    folder = installed.folder / "bin"
    folder.mkdir()
    account = _account()
    if account is None:
        return folder
    for name in _AS_POSTGRES:
        program = programs_for(account) / name
        program = program if program.exists() else Path(shutil.which(name) or name)
        wrapper = folder / name
        wrapper.write_text(
            f'#!/bin/sh\nexec setpriv --reuid={account.uid} --regid={account.gid} --clear-groups {program} "$@"\n'
        )
        wrapper.chmod(0o755)
    return folder
