"""Two API processes and a worker: the audit trail over HTTP, and logs without addresses and tokens."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from marketing_service.auth import mint_token
from marketing_service.devstack.contacts import ORG_ID, OTHER_ORG_ID
from marketing_service.devstack.process import free_port
from tests.acceptance.servers import Servers, running_servers, serve
from tests.support.relay import Step, delay
from tests.support.workers import worker_environment
from tests.support.world import ISSUER, JWT_SECRET, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CONTACTS = 30
SETTINGS = {"log_level": "DEBUG", "sweep_seconds": "0.5"}
PSEUDONYM = re.compile(r"[0-9a-f]{16}")
SECRET_QUERY = "secretary@example.com"


@dataclass
class Installation:
    """A user of acme at each of two API processes, a user of another organisation, and the logs."""

    servers: Servers
    ada: httpx.AsyncClient
    bob: httpx.AsyncClient
    stranger: httpx.AsyncClient
    tokens: list[str]
    logs: list[Path]


@pytest.fixture(scope="module")
async def two_processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    tmp_path = tmp_path_factory.mktemp("audit")
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(running_servers(tmp_path, contacts=CONTACTS, **SETTINGS))
        second = free_port()
        environment = worker_environment(
            database_url=servers.postgres.url(),
            redis_url=servers.valkey.url(),
            smtp_url=servers.relay.url,
            crm_url=servers.crm.url,
            public_base_url=str(servers.api.base_url).rstrip("/"),
            **SETTINGS,
        )
        await stack.enter_async_context(serve(second, free_port(), environment, tmp_path / "api-2.log"))
        tokens: list[str] = []

        async def user(base_url: str, subject: str, org_id: str = ORG_ID) -> httpx.AsyncClient:
            tokens.append(
                mint_token(
                    JWT_SECRET,
                    ISSUER,
                    "marketing",
                    subject=subject,
                    org_id=org_id,
                    roles=["ADMIN"],
                    features=["marketing"],
                    lifetime_seconds=3600,
                )
            )
            headers = {"Authorization": f"Bearer {tokens[-1]}"}
            client = httpx.AsyncClient(base_url=f"{base_url}/api/marketing", headers=headers, timeout=30)
            return await stack.enter_async_context(client)

        first_url, second_url = str(servers.api.base_url).rstrip("/"), f"http://127.0.0.1:{second}"
        yield Installation(
            servers,
            ada=await user(first_url, "ada@example.com"),
            bob=await user(second_url, "bob"),
            stranger=await user(second_url, "eve", OTHER_ORG_ID),
            tokens=tokens,
            logs=[tmp_path / name for name in ("api.log", "api-2.log", "worker.log")],
        )


async def done(request: Any, status: int) -> Any:
    response = await request
    assert response.status_code == status, response.text
    return response.json() if response.content and "json" in response.headers["content-type"] else None


async def trail(client: httpx.AsyncClient, **query: str) -> list[tuple[str, str]]:
    """The actors and actions, oldest first, read in pages of three."""
    found: list[tuple[str, str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await done(
            client.get("/audit", params={"limit": "3", **query} | ({"cursor": cursor} if cursor else {})), 200
        )
        found += [(entry["actor"], entry["action"]) for entry in page["items"]]
        cursor = page["nextCursor"]
    return found[::-1]


async def test_acts_are_recorded_while_redis_is_up_away_and_back(two_processes: Installation) -> None:
    ada, bob = two_processes.ada, two_processes.bob
    message = {"name": "Audited", "subject": "Audited", "fromEmail": "news@acme.example", "htmlBody": "<p>Hello</p>"}
    campaign = f"/campaigns/{(await done(ada.post('/campaigns', json=message), 201))['id']}"
    async with two_processes.servers.without("redis"):
        await done(bob.patch(campaign, json={"textBody": "Hello"}), 200)
    async with two_processes.servers.without("redis", frozen=True):
        await done(ada.patch(campaign, json={"textBody": "Good day"}), 200)
    await done(bob.delete(campaign), 204)
    acts = [("ada@example.com", "created"), ("bob", "changed"), ("ada@example.com", "changed"), ("bob", "deleted")]
    assert await trail(ada) == await trail(bob) == acts


async def test_everybody_can_see_who_did_what_and_the_logs_name_nobody(two_processes: Installation) -> None:
    servers, ada, bob = two_processes.servers, two_processes.ada, two_processes.bob
    message = {"name": "Audited", "subject": "Audited", "fromEmail": "news@acme.example", "htmlBody": "<p>Hello</p>"}

    # A repeated request at the other process is no second act.
    key = {"Idempotency-Key": "5f0c6c3e"}
    draft = (await done(ada.post("/campaigns", json=message, headers=key), 201))["id"]
    assert (await done(bob.post("/campaigns", json=message, headers=key), 201))["id"] == draft
    await done(bob.patch(f"/campaigns/{draft}", json={"noSuchField": "x"}), 422)
    await done(bob.patch(f"/campaigns/{draft}", json={"textBody": "Hello"}), 200)
    await done(ada.post(f"/campaigns/{draft}/test", json={"to": [SECRET_QUERY]}), 202)
    servers.relay.on(Step.DOT, delay(0.1))
    launches = await asyncio.gather(*(user.post(f"/campaigns/{draft}/launch") for user in (ada, bob) for _ in range(4)))
    assert sorted(response.status_code for response in launches) == [202, *[409] * 7]
    await done(bob.post(f"/campaigns/{draft}/pause"), 200)
    await done(ada.post(f"/campaigns/{draft}/resume"), 200)
    await servers.until_sent(draft)
    await done(bob.get(f"/campaigns/{draft}/sends.csv", params={"q": SECRET_QUERY}), 200)
    whole = await trail(ada, campaignId=draft)
    (launcher,) = {actor for actor, action in whole if action == "launched"}
    assert whole == [
        ("ada@example.com", "created"),
        ("bob", "changed"),
        ("ada@example.com", "tested"),
        (launcher, "launched"),
        ("bob", "paused"),
        ("ada@example.com", "resumed"),
        ("bob", "exported"),
    ]
    assert await trail(bob, campaignId=draft) == whole
    assert await trail(two_processes.stranger) == []

    # The entries of a deleted campaign stay, and the relay's outage is the act of nobody.
    copy = (await done(bob.post(f"/campaigns/{draft}/duplicate"), 201))["id"]
    await done(ada.delete(f"/campaigns/{copy}"), 204)
    await done(ada.get(f"/campaigns/{copy}"), 404)
    assert await trail(bob, campaignId=copy) == [("bob", "created"), ("ada@example.com", "deleted")]
    again = (await done(bob.post(f"/campaigns/{draft}/duplicate"), 201))["id"]
    async with servers.without("relay"):
        await done(bob.post(f"/campaigns/{again}/launch"), 202)
        await until(lambda: paused(ada, again), seconds=60)
    await servers.until_sent(again)
    assert (await trail(ada, campaignId=again))[-2:] == [("system", "paused"), ("system", "resumed")]

    # The suppression list: no entry names an address.
    entry = (await done(ada.post("/suppressions", json={"email": "ann@example.com"}), 201))["id"]
    await done(bob.delete(f"/suppressions/{entry}"), 204)
    file = b"email\nann@example.com\n"
    await done(bob.post("/suppressions.csv", content=file, headers={"Content-Type": "text/csv"}), 200)
    await done(ada.get("/suppressions.csv"), 200)
    page = await done(ada.get("/audit", params={"limit": "4"}), 200)
    assert [item["action"] for item in page["items"]] == ["exported", "imported", "unsuppressed", "suppressed"]
    assert page["items"][2]["details"] == page["items"][3]["details"]
    assert "@" not in json.dumps([item["details"] for item in page["items"]])

    await follow_links(servers)
    assert_logs_name_nobody(two_processes, [link.rsplit("/", 1)[1] for _, link in servers.links()])


async def paused(client: httpx.AsyncClient, campaign_id: str) -> bool:
    campaign = await done(client.get(f"/campaigns/{campaign_id}"), 200)
    return bool(campaign["pauseReason"] == "RELAY_DOWN")


async def follow_links(servers: Servers) -> None:
    """What recipients do, with valid and with malformed tokens."""
    for _, link in servers.links()[:3]:
        pixel = link.replace("/unsubscribe/", "/pixel/") + ".gif"
        async with httpx.AsyncClient() as recipient:
            for address in (pixel, link, f"{link}?to={SECRET_QUERY}", f"{link}x"):
                await recipient.get(address)
            await recipient.post(link, data={"List-Unsubscribe": "One-Click"})


def assert_logs_name_nobody(installation: Installation, tokens: list[str]) -> None:
    callers = set()
    for log in installation.logs:
        text = log.read_text(encoding="utf-8")
        assert "@" not in text, [line for line in text.splitlines() if "@" in line][:3]
        assert "%40" not in text
        for secret in (*tokens, *installation.tokens, *(token.split(".")[1] for token in installation.tokens)):
            assert secret not in text
        if log.name.startswith("api"):
            requests = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request"]
            assert {line["route"] for line in requests} >= {"/api/marketing/audit"}
            for line in requests:
                of_a_user = line["status"] != 401 and "/campaigns" in line["route"]
                assert ({"org", "subject"} <= line.keys()) == ("subject" in line)
                assert not of_a_user or {"org", "subject", "method", "status", "ms", "request_id"} <= line.keys()
            callers |= {(line["org"], line["subject"]) for line in requests if "subject" in line}
    # Ada, Bob and Eve, and the client that waits until a campaign is sent. Both processes call them the same.
    assert len(callers) == 4
    assert len({org for org, _ in callers}) == 2
    assert all(PSEUDONYM.fullmatch(part) for caller in callers for part in caller)
