"""The API below a path prefix, behind a real proxy that removes the prefix or keeps it."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from email import message_from_bytes
from typing import TYPE_CHECKING

import httpx
import pytest

from marketing_service.devstack.contacts import ORG_ID
from marketing_service.devstack.process import free_port
from marketing_service.ports import Contact, ContactStatus
from tests.acceptance.portal import BROWSER
from tests.acceptance.servers import admin_token, serve
from tests.support import nginx
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.relay import Relay
from tests.support.workers import worker_environment, worker_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PREFIX = "/apps/mail"
API = f"{PREFIX}/api/marketing"
TARGET = "https://www.example.com/offer?a=1"
BODY = f'<p><a href="{TARGET}">Offer</a></p>'
DRAFT = {"name": "N", "subject": "S", "fromEmail": "news@acme.example", "htmlBody": BODY, "trackClicks": True}

pytestmark = pytest.mark.skipif(nginx.missing() is not None, reason=str(nginx.missing()))


@dataclass
class Proxied:
    origins: nginx.Origins
    relay: Relay
    client: httpx.AsyncClient


@pytest.fixture
async def proxied(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Proxied]:
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay())
        crm = await stack.enter_async_context(CrmServer())
        crm.statuses = [ContactStatus("LEAD", "Lead")]
        crm.contacts = {ORG_ID: [Contact("c1", "ann@example.net", "Ann", "Lee", None, "LEAD", marketing_opt_out=False)]}
        port = free_port()
        origins = await stack.enter_async_context(nginx.nginx(tmp_path, PREFIX, api=port))
        environment = worker_environment(
            database_url=database_url, redis_url=redis_url, smtp_url=relay.url, crm_url=crm.url, crm_token=TOKEN,
            public_base_url=f"{origins.removing}{PREFIX}", console="true", proxy_hops="1", unsubscribe_get="confirm",
        )  # fmt: skip
        log = tmp_path / "api.log"
        await stack.enter_async_context(serve(port, free_port(), environment, log, "--root-path", PREFIX))
        await stack.enter_async_context(worker_process(environment, tmp_path / "worker.log"))
        headers = BROWSER | {"Authorization": f"Bearer {admin_token()}"}
        client = await stack.enter_async_context(httpx.AsyncClient(headers=headers, timeout=30))
        yield Proxied(origins, relay, client)


async def test_below_a_prefix_locations_links_and_the_console_lead_back_to_it(proxied: Proxied) -> None:
    for origin in proxied.origins:
        created = await proxied.client.post(f"{origin}{API}/campaigns", json=DRAFT | {"audience": {"type": "ALL"}})
        assert created.status_code == 201, created.text
        assert created.headers["location"] == f"{API}/campaigns/{created.json()['id']}"
        found = await proxied.client.get(origin + created.headers["location"])
        assert found.json()["id"] == created.json()["id"]
        wrong_method = await proxied.client.put(f"{origin}{API}/suppressions/imports")
        assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "GET")
        await every_file_of_the_console_is_served(proxied.client, origin)

    campaign = created.headers["location"]
    launched = await proxied.client.post(f"{origin}{campaign}/launch")
    assert launched.status_code == 202, launched.text
    await proxied.relay.until(lambda: len(proxied.relay.accepted) == 1)
    await the_links_of_the_message_work(proxied)


async def every_file_of_the_console_is_served(client: httpx.AsyncClient, origin: str) -> None:
    page = await client.get(f"{origin}{PREFIX}/marketing/campaigns/new")
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(named) == 3
    for path in named:
        assert path.startswith(f"{PREFIX}/marketing/static/")
        assert (await client.get(origin + path)).status_code == 200, path


async def the_links_of_the_message_work(proxied: Proxied) -> None:
    public = proxied.origins.removing + API
    message = message_from_bytes(proxied.relay.accepted[0].content)
    html = next(part for part in message.walk() if part.get_content_type() == "text/html").get_payload(decode=True)
    assert isinstance(html, bytes)
    links = re.findall(rf'"({re.escape(public)}/[^"]+)"', html.decode())
    pixel, click, unsubscribe = (
        next(link for link in links if f"/{kind}/" in link) for kind in ("pixel", "click", "unsubscribe")
    )
    for origin in proxied.origins:
        at_origin = [link.replace(proxied.origins.removing, origin) for link in (pixel, click, unsubscribe)]
        loaded, followed, asked = [await proxied.client.get(link) for link in at_origin]
        assert (loaded.status_code, loaded.headers["content-type"]) == (200, "image/gif")
        assert (followed.status_code, followed.headers["location"]) == (302, TARGET)
        assert asked.status_code == 200
        assert "<form" in asked.text
        # Damaged on the way, as mail programs do.
        damaged = at_origin[2].replace("/unsubscribe/", "/unsubscribe//") + "%3E."
        assert "<form" in (await proxied.client.get(damaged)).text
        opted_out = await proxied.client.post(at_origin[2])
        assert opted_out.status_code == 200
    assert f"<{unsubscribe}>" in str(message["List-Unsubscribe"])
