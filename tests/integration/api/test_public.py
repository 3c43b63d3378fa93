"""The pixel and the unsubscribe link, as recipients and their mail programs use them."""

import asyncio
import dataclasses
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.api.pixel import GIF
from marketing_service.bootstrap import Resources
from marketing_service.db import Database
from marketing_service.tokens import Purpose
from tests.integration.api.recipients import BROWSER
from tests.integration.api.support import api_settings, both_apps, client_of
from tests.support.ledger import assert_adds_up, contact, launched, send_rows
from tests.support.no_database import NoDatabase

PIXEL = "/api/marketing/pixel/{}.gif"
UNSUBSCRIBE = "/api/marketing/unsubscribe/{}"
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


async def one_send(owner: Database) -> UUID:
    campaign_id = await launched(owner, [contact(1, email="Ada@example.com", address="ada@example.com")])
    (row,) = await send_rows(owner, campaign_id)
    return UUID(str(row["id"]))


async def the_row(owner: Database) -> dict[str, Any]:
    async with owner.transaction() as tx:
        return dict((await tx.connection.execute(text("SELECT * FROM marketing_sends"))).mappings().one())


async def opt_outs(owner: Database) -> int:
    async with owner.transaction() as tx:
        return int((await tx.connection.execute(text("SELECT count(*) FROM marketing_opt_outs"))).scalar_one())


def assert_pixel(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/gif"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-length"] == "43"


def assert_page(response: httpx.Response, status: int, title: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<title>{title}</title>" in response.text
    assert "example.com" not in response.text
    assert "set-cookie" not in response.headers


CONFIRMED = "You are unsubscribed"
ASK = "Unsubscribe from our emails?"
BROKEN_LINK = "This link does not work"
NOT_YET = "We could not unsubscribe you just now"


@pytest.fixture
async def down(resources: Resources, owner: Database) -> Any:
    """The same application without PostgreSQL."""
    nowhere = Database(NOWHERE, role="marketing_api", connect_timeout=0.5, statement_timeout=1)
    gone = dataclasses.replace(resources, transactions=nowhere.transaction, call=nowhere.call)
    async with client_of(create_app(gone), None) as client:
        yield client
    await nowhere.close()


class TestPixel:
    async def test_two_loads_are_one_open(
        self, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.OPEN, await one_send(owner))
        for loads in (1, 2):
            response = await anonymous.get(PIXEL.format(token))
            assert_pixel(response)
            assert response.content == GIF
            row = await the_row(owner)
            assert row["open_count"] == loads
        assert row["opened_at"] < row["last_opened_at"]

    @pytest.mark.parametrize("token", ["x", "%00", "a" * 5000, "🙂", "A" * 43])
    async def test_a_bad_token_gets_the_same_picture(self, anonymous: httpx.AsyncClient, token: str) -> None:
        response = await anonymous.get(PIXEL.format(token))
        assert_pixel(response)
        assert response.content == GIF

    async def test_an_unsubscribe_token_opens_nothing(
        self, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.UNSUBSCRIBE, await one_send(owner))
        assert_pixel(await anonymous.get(PIXEL.format(token)))
        assert (await the_row(owner))["open_count"] == 0

    async def test_forged_tokens_cost_no_query(self, resources: Resources) -> None:
        database = NoDatabase()
        without = dataclasses.replace(resources, transactions=database.transaction, call=database.call)
        async with both_apps(without) as (client, operator):
            for forged in ("A" * 43, "x"):
                assert_pixel(await client.get(PIXEL.format(forged)))
            assert database.uses == 0
            assert "marketing_opens_lost_total 0.0" in (await operator.get("/metrics")).text

    async def test_concurrent_loads_are_all_committed_before_the_response(
        self, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
    ) -> None:
        campaign_id = await launched(owner, 30)
        rows = await send_rows(owner, campaign_id)
        tokens = [resources.tokens.issue(Purpose.OPEN, row["id"]) for row in rows]
        responses = await asyncio.gather(*(anonymous.get(PIXEL.format(token)) for token in tokens + tokens[:10]))
        for response in responses:
            assert_pixel(response)
            assert response.headers["x-request-id"]
        counters = await assert_adds_up(owner, campaign_id)
        assert counters["opens"] == 30
        assert [row["open_count"] for row in await send_rows(owner, campaign_id)] == [2] * 10 + [1] * 20

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            (
                {"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Thunderbird/140.0"},
                None,
            ),
            ({"User-Agent": "Mozilla/5.0"}, "APPLE_MAIL_PRIVACY"),
            (
                {"User-Agent": "Thunderbird/140.0", "X-Forwarded-For": "10.1.2.3, 52.101.7.8, 192.0.2.1"},
                "MICROSOFT_365",
            ),
            ({"User-Agent": "Thunderbird/140.0", "X-Forwarded-For": "52.101.7.8, 203.0.113.9, 192.0.2.1"}, None),
            ({"User-Agent": "Thunderbird/140.0", "X-Forwarded-For": "52.101.7.8"}, None),
        ],
        ids=["a mail program", "a privacy proxy", "a gateway behind our proxies", "what a caller claims", "no hop"],
    )
    async def test_an_open_says_whether_a_machine_made_it(
        self, resources: Resources, owner: Database, headers: dict[str, str], reason: str | None
    ) -> None:
        rules = dataclasses.replace(resources.api_rules, proxy_hops=2)
        token = resources.tokens.issue(Purpose.OPEN, await one_send(owner))
        async with client_of(create_app(dataclasses.replace(resources, api_rules=rules)), None) as client:
            assert_pixel(await client.get(PIXEL.format(token), headers=headers))
        row = await the_row(owner)
        assert row["machine_reason"] == reason
        assert "52.101" not in str(row), "nothing of the request is kept"

    async def test_head_counts_nothing(
        self, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.OPEN, await one_send(owner))
        response = await anonymous.head(PIXEL.format(token))
        assert_pixel(response)
        assert (await the_row(owner))["open_count"] == 0

    async def test_with_postgresql_down_the_pixel_is_sent_and_the_open_is_counted_as_lost(
        self, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.OPEN, UUID(int=1))
        nowhere = Database(NOWHERE, role="marketing_api", connect_timeout=0.5, statement_timeout=1)
        gone = dataclasses.replace(resources, transactions=nowhere.transaction, call=nowhere.call)
        async with both_apps(gone) as (client, operator):
            async with asyncio.timeout(2.5):
                response = await client.get(PIXEL.format(token))
            assert_pixel(response)
            assert_pixel(await client.get(PIXEL.format("rubbish")))
            assert_pixel(await client.head(PIXEL.format(token)))
            assert "marketing_opens_lost_total 1.0" in (await operator.get("/metrics")).text
        await nowhere.close()


class TestUnsubscribe:
    @pytest.fixture
    async def token(self, owner: Database, resources: Resources) -> str:
        return resources.tokens.issue(Purpose.UNSUBSCRIBE, await one_send(owner))

    async def test_opening_the_link_opts_out_at_once(
        self, anonymous: httpx.AsyncClient, owner: Database, token: str
    ) -> None:
        assert_page(await anonymous.get(UNSUBSCRIBE.format(token), headers=BROWSER), 200, CONFIRMED)
        assert await opt_outs(owner) == 1
        row = await the_row(owner)
        assert (row["status"], row["reason"]) == ("SKIPPED", "OPTED_OUT")
        assert row["unsubscribed_at"]

    async def test_a_second_opt_out_changes_nothing(
        self, anonymous: httpx.AsyncClient, owner: Database, token: str
    ) -> None:
        for _ in range(2):
            assert_page(await anonymous.post(UNSUBSCRIBE.format(token)), 200, CONFIRMED)
        assert await opt_outs(owner) == 1

    async def test_parameters_of_a_link_tracker_are_ignored(
        self, anonymous: httpx.AsyncClient, owner: Database, token: str
    ) -> None:
        response = await anonymous.get(UNSUBSCRIBE.format(token), params={"utm_source": "mail"}, headers=BROWSER)
        assert_page(response, 200, CONFIRMED)
        assert await opt_outs(owner) == 1

    @pytest.mark.parametrize(
        "body",
        [
            {"data": {"List-Unsubscribe": "One-Click"}},
            {"files": {"List-Unsubscribe": (None, "One-Click")}},
            {},
            {"content": b"\xff\x00", "headers": {"Content-Type": "application/json"}},
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
        ],
        ids=["urlencoded", "multipart", "empty", "rubbish", "no boundary"],
    )
    async def test_one_click_opts_out_with_any_body(
        self, anonymous: httpx.AsyncClient, owner: Database, token: str, body: dict[str, Any]
    ) -> None:
        assert_page(await anonymous.post(UNSUBSCRIBE.format(token), **body), 200, CONFIRMED)
        assert await opt_outs(owner) == 1

    @pytest.mark.parametrize(
        "header",
        [
            {"Sec-Purpose": "prefetch"},
            {"Sec-Purpose": "prefetch;prerender"},
            {"Purpose": "prefetch"},
            {"X-Moz": "prefetch"},
            {"X-Purpose": "preview"},
        ],
        ids=str,
    )
    async def test_a_prefetch_gets_the_page_with_a_button(
        self, anonymous: httpx.AsyncClient, owner: Database, token: str, header: dict[str, str]
    ) -> None:
        assert_page(await anonymous.get(UNSUBSCRIBE.format(token), headers=BROWSER | header), 200, ASK)
        assert await opt_outs(owner) == 0

    async def test_head_never_opts_out(self, anonymous: httpx.AsyncClient, owner: Database, token: str) -> None:
        response = await anonymous.head(UNSUBSCRIBE.format(token))
        assert (response.status_code, response.content) == (200, b"")
        assert await opt_outs(owner) == 0

    async def test_confirm_mode_shows_the_page_with_a_button(
        self, resources: Resources, owner: Database, token: str
    ) -> None:
        rules = dataclasses.replace(resources.api_rules, confirm_unsubscribe=True)
        async with client_of(create_app(dataclasses.replace(resources, api_rules=rules)), None) as client:
            asked = await client.get(UNSUBSCRIBE.format(token), headers=BROWSER)
            assert_page(asked, 200, ASK)
            assert 'method="post">' in asked.text
            assert await opt_outs(owner) == 0
            assert_page(await client.post(UNSUBSCRIBE.format(token)), 200, CONFIRMED)
            assert await opt_outs(owner) == 1
            lost = resources.tokens.issue(Purpose.UNSUBSCRIBE, UUID(int=7))
            assert_page(await client.get(UNSUBSCRIBE.format(lost)), 404, BROKEN_LINK)

    @pytest.mark.parametrize("bad", ["x", "%00", "a" * 5000, "🙂", "A" * 43, "%ff"])
    async def test_a_bad_token_is_a_page_too(self, anonymous: httpx.AsyncClient, bad: str) -> None:
        for method in ("GET", "POST"):
            assert_page(await anonymous.request(method, UNSUBSCRIBE.format(bad)), 404, BROKEN_LINK)
        ahead = await anonymous.get(UNSUBSCRIBE.format(bad), headers={"Purpose": "prefetch"})
        assert_page(ahead, 404, BROKEN_LINK)

    async def test_a_valid_token_without_a_send_is_not_found(
        self, anonymous: httpx.AsyncClient, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.UNSUBSCRIBE, UUID(int=7))
        assert_page(await anonymous.post(UNSUBSCRIBE.format(token)), 404, BROKEN_LINK)

    async def test_a_pixels_token_unsubscribes_nobody(
        self, anonymous: httpx.AsyncClient, owner: Database, resources: Resources
    ) -> None:
        token = resources.tokens.issue(Purpose.OPEN, await one_send(owner))
        assert_page(await anonymous.post(UNSUBSCRIBE.format(token)), 404, BROKEN_LINK)
        assert await opt_outs(owner) == 0

    async def test_it_is_confirmed_with_the_crm_and_redis_down(
        self, resources: Resources, owner: Database, database_url: str, token: str
    ) -> None:
        settings = api_settings(database_url, "redis://127.0.0.1:9/0")
        async with Resources.open(settings, process="api") as without_redis:
            app = create_app(dataclasses.replace(resources, job_queue=without_redis.job_queue))
            async with client_of(app, None) as client, asyncio.timeout(5):
                assert_page(await client.post(UNSUBSCRIBE.format(token)), 200, CONFIRMED)
        assert await opt_outs(owner) == 1

    async def test_with_postgresql_down_it_is_never_confirmed(self, down: httpx.AsyncClient, token: str) -> None:
        for method in ("GET", "POST"):
            async with asyncio.timeout(5):
                response = await down.request(method, UNSUBSCRIBE.format(token), headers=BROWSER)
            assert_page(response, 503, NOT_YET)
            assert int(response.headers["retry-after"]) > 0
        ahead = await down.get(UNSUBSCRIBE.format(token), headers={"Purpose": "prefetch"})
        assert_page(ahead, 200, ASK)
