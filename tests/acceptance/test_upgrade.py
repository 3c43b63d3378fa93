"""An upgrade while a campaign is being sent: the previous release's worker and API go on with the new schema."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from marketing_service.devstack.contacts import ORG_ID
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ports import Contact, ContactStatus
from tests.acceptance.portal import BROWSER
from tests.acceptance.servers import admin_token, serve
from tests.support import previous_release
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.project import ROOT
from tests.support.relay import Now, Relay, Step, answer
from tests.support.sql import execute_now
from tests.support.workers import WorkerProcess, worker_environment, worker_process
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONTACTS, TEAM = 600, 20
LEADS = [f"p{number}@example.net" for number in range(CONTACTS)]
MEMBERS = [f"m{number}@example.net" for number in range(TEAM)]
DEFERRED = set(LEADS[::10])
"""The relay defers the first try of each."""

_REVISION = "SELECT version_num FROM marketing_schema_version"
_COUNTED = """
    SELECT recipients, queued + sending + deferred, delivered, attempts,
        (SELECT count(*) FROM marketing_sends s WHERE s.campaign_id = c.id AND s.status = 'DELIVERED')
    FROM marketing_campaigns c, LATERAL (SELECT sum(attempts) AS attempts FROM marketing_sends WHERE campaign_id = c.id)
    WHERE name = 'Upgrade'
"""


@pytest.mark.skipif(previous_release.missing() is not None, reason=str(previous_release.missing()))
async def test_the_previous_release_sends_on_the_new_schema_until_the_new_workers_take_over(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        postgres, valkey = PostgresServer(tmp_path / "postgres", durable=False), ValkeyServer(tmp_path / "valkey")
        for server in (postgres, valkey):
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
        relay = await stack.enter_async_context(Relay())
        crm = await stack.enter_async_context(CrmServer())
        crm.statuses = [ContactStatus("LEAD", "Lead"), ContactStatus("TEAM", "Team")]
        crm.contacts = {ORG_ID: contacts()}
        for address in DEFERRED:
            relay.on(Step.RCPT, answer(450, "4.2.0 Try again"), when=partial(is_for, address), times=1)
        new = worker_environment(
            database_url=postgres.url(), redis_url=valkey.url(), smtp_url=relay.url,
            crm_url=crm.url, crm_token=TOKEN, worker_jobs="2", batch_window="4", log_level="INFO",
        )  # fmt: skip
        (folder := tmp_path / "previous").mkdir()
        await asyncio.to_thread(previous_release.extract, folder)
        old = new | {"PYTHONPATH": str(folder / "src")}
        assert await command(old, folder, "-c", "import marketing_service; print(marketing_service.__file__)") == str(
            folder / "src" / "marketing_service" / "__init__.py"
        )

        await command(old, folder, "-m", "marketing_service", "migrate")
        [[before]] = await execute_now(postgres.url(), _REVISION)
        port = free_port()
        await stack.enter_async_context(serve(port, free_port(), old, tmp_path / "old-api.log"))
        api = await stack.enter_async_context(client(port))
        old_worker = await stack.enter_async_context(worker_process(old, tmp_path / "old-worker.log"))
        campaign = await launch(api, "Upgrade", "LEAD")
        await relay.until(lambda: len(relay.accepted) >= 100)

        # Between two messages, so that sends are marked while the schema changes.
        relay.pause()
        await command(new, ROOT, "-m", "marketing_service", "migrate")
        [[after]] = await execute_now(postgres.url(), _REVISION)
        assert after > before
        relay.resume()
        await relay.until(lambda: len(relay.accepted) >= 200)
        second = await launch(api, "Launched by the old API", "TEAM")
        assert (await get(api, f"campaigns/{campaign}/stats"))["status"] == "SENDING"

        relay.pause()
        opened = relay.connections
        new_worker = await stack.enter_async_context(worker_process(new, tmp_path / "new-worker.log"))
        await relay.until(lambda: relay.connections > opened)
        relay.resume()
        await relay.until(lambda: len(relay.accepted) >= 350)
        await stop(old_worker)

        port = free_port()
        await stack.enter_async_context(serve(port, free_port(), new, tmp_path / "new-api.log"))
        new_api = await stack.enter_async_context(client(port))
        for sent in (campaign, second):
            await until_sent(new_api, sent)
            assert await get(new_api, f"campaigns/{sent}/stats") == await get(api, f"campaigns/{sent}/stats")
        await stop(new_worker)
        counted = await execute_now(postgres.url(), _COUNTED)
        # The counters above are right already. Old processes do not count the reasons of migration 0012.
        await command(new, ROOT, "-m", "marketing_service", "reconcile")
        reconciled = await command(new, ROOT, "-m", "marketing_service", "reconcile", "--dry-run")
        assert warnings(tmp_path) == {}

    assert counted == [(CONTACTS, 0, CONTACTS, CONTACTS + len(DEFERRED), CONTACTS)]
    assert relay.recipients == dict.fromkeys((*LEADS, *MEMBERS), 1), "nobody is left out, and nobody got it twice"
    assert reconciled.endswith("2 campaigns compared, 0 differed.")


def warnings(folder: Path) -> dict[str, set[str]]:
    """The events in the logs that a person should look at. A process that the schema stops can continue after the
    upgrade, so the result of the campaigns does not show it."""
    found: dict[str, set[str]] = {}
    for log in folder.glob("*.log"):
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        for line in lines:
            if line["level"] not in {"debug", "info"}:
                found.setdefault(log.name, set()).add(line["event"])
    return found


def is_for(address: str, now: Now) -> bool:
    return now.recipient == address


def contacts() -> list[Contact]:
    return [
        Contact(address, address, "Ann", "Lee", None, status, marketing_opt_out=False)
        for status, addresses in (("LEAD", LEADS), ("TEAM", MEMBERS))
        for address in addresses
    ]


def client(port: int) -> httpx.AsyncClient:
    headers = BROWSER | {"Authorization": f"Bearer {admin_token()}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/marketing/", headers=headers, timeout=30)


async def launch(api: httpx.AsyncClient, name: str, status: str) -> str:
    message = {"name": name, "subject": name, "fromEmail": "news@acme.example", "textBody": "Hello"}
    created = await api.post("campaigns", json=message | {"audience": {"type": "BY_STATUS", "statuses": [status]}})
    assert created.status_code == 201, created.text
    campaign = str(created.json()["id"])
    launched = await api.post(f"campaigns/{campaign}/launch")
    assert launched.status_code == 202, launched.text
    return campaign


async def get(api: httpx.AsyncClient, path: str) -> dict[str, Any]:
    response = await api.get(path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def until_sent(api: httpx.AsyncClient, campaign: str) -> None:
    async def sent() -> bool:
        return bool((await get(api, f"campaigns/{campaign}"))["status"] == "SENT")

    await until(sent, seconds=60)


async def stop(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGTERM)
    assert await worker.wait() == 0, worker.log()


async def command(environment: Mapping[str, str], folder: Path, *arguments: str) -> str:
    """What a Python program prints. It must succeed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments), cwd=folder, env=dict(environment) | {"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode().strip()
