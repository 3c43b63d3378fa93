"""Links that mail programs have damaged do what they should, for their own recipient and for nobody else."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog
import uvicorn

from marketing_service.api.app import create_app
from marketing_service.api.connection_limits import LimitedProtocol
from marketing_service.bootstrap import Resources
from marketing_service.tokens import Purpose
from tests.integration.api.recipients import (
    ASK,
    BROKEN_LINK,
    BROWSER,
    CONFIRMED,
    LINKS,
    TARGET,
    assert_page,
    mailed,
    opens,
    opted_out,
)
from tests.integration.api.support import api_settings, client_of
from tests.support.no_database import NoDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from starlette.types import ASGIApp

    from marketing_service.db import Database


# {u}: the path. {b}: its fixed part. {t}: the token. {h} and {i}: its halves.
DAMAGED = (
    "{u}.", "{u},", "{u})", "{u}%3E", "{u}%20", "{u}=", "{u}=%0A", "{u}%C2%A0", "{u}%E2%80%8B", "{u}/", "{u}&amp;utm=1",
    "{u}&utm=1", "{u};x=1", "{u}'", "{u}*", "{u}%5D%5D", "{u}&quot;", "{u}%7D", "{u}%7d", "{u}%e2%80%a6", "{u}%253E",
    "{u}%00", "{u}%ff", "{u}?utm_source=x", "{u}#top", "{u}=20", "{u}=3D", "{b}3D{t}", "{b}=3D{t}", "{b}%22{t}",
    "{b}%22{t}%22", "{b}%27{t}%27", "{b}%E2%80%9C{t}%E2%80%9D", "{b}%3C{t}%3E", "{b}({t})", "{b}/{t}", "{b}%2F{t}",
    "{b}%5C{t}", "{b}22{t}", "{b}{t}ABC", "{b}xyz_{t}-", "{b}{t}/{t}", "{b}{t}{t}", "/en{u}", "/{u}",
    "/de-DE/x{u}/more",
    "{b}https://mail.example.com{u}", "{b}https%3A%2F%2Fmail.example.com{u}", "{b}{h}=%0A{i}", "{b}{h}=%0D%0A{i}",
    "{b}{h}=3D%0A{i}", "{b}{h}=%0d%0a{i}", "{b}{h}%0D%0A%20{i}", "{b}{h}%20{i}", "{b}{h}%253D%250A{i}",
    "{b}{h}%C2%AD{i}",
    "{b}{h}&%238203;{i}", "{b}{h}%5C{i}", "/API/Marketing/Unsubscribe/{t}", "/api/marketing/unsub=%0Ascribe/{t}",
    "/api/marketing/unsubscribe%252F{t}",
)  # fmt: skip
BEFORE = "/api/marketing/unsubscribe/"


def damage(form: str, path: str) -> str:
    token = path.removeprefix(BEFORE)
    return form.format(u=path, b=BEFORE, t=token, h=token[:20], i=token[20:])


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_damaged_unsubscribe_link_opts_out_its_own_recipient(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources, method: str
) -> None:
    recipients = await mailed(owner, resources.tokens, len(DAMAGED) + 5)
    gone: set[str] = set()
    for form, recipient in zip(DAMAGED, recipients, strict=False):
        response = await anonymous.request(method, damage(form, recipient.unsubscribe), headers=BROWSER)
        gone.add(recipient.address)
        assert (response.status_code, CONFIRMED in response.text) == (200, True), form
        assert await opted_out(owner) == gone, form


async def test_the_button_of_the_page_works_at_a_damaged_address(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    """The form has no address of its own: it goes to the damaged one."""
    (recipient,) = await mailed(owner, resources.tokens, 1)
    damaged = recipient.unsubscribe + "%E2%80%8B/"
    assert (await anonymous.head(damaged)).status_code == 200
    assert_page(await anonymous.get(damaged, headers={"Purpose": "prefetch"}), 200, ASK)
    assert await opted_out(owner) == set()
    assert_page(await anonymous.post(damaged), 200, CONFIRMED)
    assert await opted_out(owner) == {recipient.address}


async def test_without_exactly_one_valid_token_nobody_is_opted_out(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    one, other = await mailed(owner, resources.tokens, 2)
    token, other_token = (recipient.unsubscribe.removeprefix(BEFORE) for recipient in (one, other))
    tokens = resources.tokens
    for rest in (
        f"{token}/{other_token}",
        f"{token}{other_token}",
        f"%22{token[:20]}=%0A{token[20:]}%22,{other_token}",
        *(f"{tokens.issue(purpose, one.send_id)}." for purpose in Purpose if purpose is not Purpose.UNSUBSCRIBE),
        f"{token[:-1]}.",
        f"{token[:20]}{token[21:]}/",
        f"{token.swapcase()})",
        f"{token}.{'A' * 2000}",
        "a/b/c",
        "%0A",
        "",
    ):
        for method in ("GET", "POST"):
            assert_page(await anonymous.request(method, BEFORE + rest, headers=BROWSER), 404, BROKEN_LINK)
        assert (await anonymous.head(BEFORE + rest)).status_code == 404
    assert await opted_out(owner) == set()


async def test_a_damaged_link_leads_to_its_own_target_and_counts(
    anonymous: httpx.AsyncClient, admin: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    (recipient,) = await mailed(owner, resources.tokens, 1)
    start, token, _ = recipient.click.replace("click/", "click/|", 1).replace("/1", "|/1").split("|")
    twelfth = f"{start}{token}/{LINKS}"
    for damaged, target in (
        *((recipient.click + rest, TARGET) for rest in (".", "%20", ")", "/", "&amp;x=1", "=%0A", "%E2%80%8B", "%22")),
        (f"{recipient.click}/https://evil.example", TARGET),
        (f"{twelfth}%3E", f"{TARGET}{LINKS}"),
        (f"{start}{token}/1=%0A2", f"{TARGET}{LINKS}"),
        (f"{start}3D{token[:20]}=%0D%0A{token[20:]}//{LINKS}.", f"{TARGET}{LINKS}"),
        (f"/en{twelfth}", f"{TARGET}{LINKS}"),
    ):
        for method in ("GET", "HEAD"):
            response = await anonymous.request(method, damaged, headers=BROWSER)
            assert (response.status_code, response.headers.get("location")) == (302, target), damaged
    links = (await admin.get("/api/marketing/campaigns")).json()["items"][0]["id"]
    counted = (await admin.get(f"/api/marketing/campaigns/{links}/links")).json()["items"]
    assert [counted[0]["totalClicks"], counted[LINKS - 1]["totalClicks"]] == [9, 4]
    for rest in (f"{token}/0.", f"{token}/", f"{token}./x", f"{token[:-1]}/1.", "a/b/c"):
        assert_page(await anonymous.get(start + rest, headers=BROWSER), 404, BROKEN_LINK)


async def test_a_damaged_pixel_counts_as_an_open_and_always_shows_the_picture(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    one, other = await mailed(owner, resources.tokens, 2)
    before, token = one.pixel.removesuffix(".gif").split("pixel/")
    damaged = [one.pixel + "%22", one.pixel + "/", one.pixel.removesuffix(".gif"), f"{before}pixel/3D{token}.gif"]
    damaged += [f"{before}pixel/{token[:20]}=%0A{token[20:]}.gif", f"/en{one.pixel}"]
    for loads, path in enumerate(damaged, start=1):
        response = await anonymous.get(path, headers=BROWSER)
        assert (response.status_code, response.headers["content-type"]) == (200, "image/gif"), path
        assert await opens(owner) == {one.send_id: loads}, path
    for path in (f"{one.pixel}{other.pixel}", f"{before}pixel/{token[:-1]}..gif", f"{before}pixel/a/b"):
        assert (await anonymous.get(path)).headers["content-type"] == "image/gif"
    assert await opens(owner) == {one.send_id: len(damaged)}


async def test_a_damaged_link_is_not_counted_by_the_limits_and_a_made_up_one_is(
    resources: Resources, database_url: str, redis_url: str
) -> None:
    settings = api_settings(database_url, redis_url, api_rate_public="2/minute")
    sends = [
        resources.tokens.issue(purpose, UUID(int=9)) for purpose in (Purpose.OPEN, Purpose.CLICK, Purpose.UNSUBSCRIBE)
    ]
    pixel, click, unsubscribe = sends
    valid = [f"pixel/3D{pixel}.gif", f"click/{click}/1.", f"click/{click}/0.", f"unsubscribe//{unsubscribe}."]
    async with Resources.open(settings, process="api") as other:
        app = create_app(dataclasses.replace(resources, limiter=other.limiter), response_seconds=60)
        async with client_of(app, None) as client:
            for path in valid * 3:
                response = await client.get(f"/api/marketing/{path}")
                assert response.status_code in {200, 404}
                assert "ratelimit" not in response.headers
            made_up = [
                (await client.get(f"/api/marketing/{path[:-9]}/{n}")).status_code for n, path in enumerate(valid)
            ]
            assert made_up[2:] == [429, 429]
            assert (await client.get(f"/api/marketing/{valid[-1]}")).status_code == 404


async def test_a_made_up_link_costs_no_query_however_it_looks(resources: Resources) -> None:
    database = NoDatabase()
    without = dataclasses.replace(resources, transactions=database.transaction, call=database.call)
    async with client_of(create_app(without), None) as client:
        for path in ("unsubscribe", "click", "pixel"):
            for rest in ("A" * 1000, "=%0A" * 300, "%2525" * 200, "a/b", "&%2395;" * 100):
                await client.get(f"/api/marketing/{path}/{rest}", headers=BROWSER)
    assert database.uses == 0


async def test_the_log_has_neither_a_damaged_path_nor_a_token(
    anonymous: httpx.AsyncClient, resources: Resources
) -> None:
    token = resources.tokens.issue(Purpose.UNSUBSCRIBE, UUID(int=5))
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        for rest in (f"{token}.", f"3D{token}", f"{token[:20]}=%0A{token[20:]}", f"{token[:-1]}/"):
            await anonymous.get(BEFORE + rest, headers=BROWSER)
    assert {line["route"] for line in logs} == {"/api/marketing/unsubscribe/{token}"}
    assert token[:20] not in str(logs)
    assert token[20:-1] not in str(logs)


class TestConnection:
    """Over a socket, with signs that are not percent-encoded."""

    @pytest.fixture
    async def port(self, app: ASGIApp) -> AsyncIterator[int]:
        config = uvicorn.Config(app, http=LimitedProtocol, log_config=None, access_log=False, lifespan="off")
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        # Not `serve`: it replaces the signal handlers of the test process.
        serving: asyncio.Task[Any] = asyncio.create_task(server._serve([listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving

    async def test_signs_that_no_url_may_have_are_ignored(
        self, port: int, owner: Database, resources: Resources
    ) -> None:
        damaged = ('U"', "U\\", "<U>", "U|", "U^`{}", "U%", "U%zz", "U#x", "//U", "http://mail.example.comU]")
        recipients = await mailed(owner, resources.tokens, len(damaged))
        for form, recipient in zip(damaged, recipients, strict=True):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            path = form.replace("U", recipient.unsubscribe)
            target = path if path.startswith(("/", "http:")) else f"/{path}"
            head = (
                f"GET {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {BROWSER['User-Agent']}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode())
            assert CONFIRMED in (await reader.read()).decode(), form
            writer.close()
            await writer.wait_closed()
        assert await opted_out(owner) == {recipient.address for recipient in recipients}
