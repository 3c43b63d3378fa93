"""Every command of docs/first-production.md, in its order, on empty servers."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.postgres_programs import programs
from marketing_service.devstack.process import free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ports import Contact, ContactStatus
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.postfix import missing, postfix
from tests.support.project import ROOT
from tests.support.relay import Relay
from tests.support.sql import execute_now

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("redis-cli", "jq", "curl")
ABSENT = [program for program in PROGRAMS if shutil.which(program) is None]
TEAM = 25
MINUTES = 3


def blocks() -> str:
    """The shell blocks of the page, as one script."""
    text = (ROOT / "docs" / "first-production.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
async def test_the_page_leads_from_empty_servers_to_the_first_campaign(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(tmp_path / "postgres", durable=False)
        valkey = ValkeyServer(tmp_path / "valkey")
        for server in (postgres, valkey):
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
        await asyncio.to_thread(postgres.drop_database, "marketing")
        await execute_now(
            postgres.url("postgres"), "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'ADMIN-PASSWORD'"
        )
        crm = await stack.enter_async_context(CrmServer())
        crm.statuses = [ContactStatus("TEAM", "Team"), ContactStatus("LEAD", "Lead")]
        crm.contacts = {
            "acme": [
                Contact(f"c{number:03}", f"p{number}@example.net", "Ann", "Lee", None, "TEAM", marketing_opt_out=False)
                for number in range(TEAM)
            ]
        }
        inbox = await stack.enter_async_context(Relay())
        relay_port = inbox.port
        if missing() is None:  # a real relay before the inbox
            relay_port = free_port()
            await stack.enter_async_context(postfix(port=relay_port, next_hop=inbox.port))
        output = await run(
            tmp_path,
            {
                "db.example.com:5432": f"127.0.0.1:{postgres.port}",
                "redis.example.com:6379": f"127.0.0.1:{valkey.port}",
                "relay.example.com:587": f"127.0.0.1:{relay_port}",
                "http://crm.example.com:80": crm.url,
                "CRM-TOKEN": TOKEN,
                "127.0.0.1:8000": f"127.0.0.1:{(port := free_port())}",
                "--port 8000": f"--port {port}",
                "127.0.0.1:8001": f"127.0.0.1:{(internal := free_port())}",
                "--internal-port 8001": f"--internal-port {internal}",
                "--metrics-port 9101": f"--metrics-port {free_port()}",
            },
        )
        await inbox.until(lambda: len(inbox.accepted) == TEAM + 1)
    assert inbox.recipients == {"you@example.com": 1} | {f"p{number}@example.net": 1 for number in range(TEAM)}
    assert "0001  Create the whole schema" in output
    assert f'"delivered": {TEAM}' in output
    assert "error  " not in output, "doctor found nothing wrong"


async def run(folder: Path, places: dict[str, str]) -> str:
    """Run the page's script with these places. Returns what it printed."""
    script = blocks()
    for name, place in places.items():
        assert name in script, f"the page no longer has {name}"
        script = script.replace(name, place)
    path = f"{ROOT / '.venv' / 'bin'}:{programs()}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", script,
        cwd=folder, env={"PATH": path, "HOME": str(folder)}, start_new_session=True,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(MINUTES * 60):
            printed, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):  # after an error, the page's own processes are left
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    output = printed.decode()
    assert process.returncode == 0, output
    return output
