"""The limits of the API, with a real Valkey: who is counted, what is refused, what is never refused."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from marketing_service.api.app import create_app
from marketing_service.api.metrics import Metrics
from marketing_service.bootstrap import Resources
from marketing_service.tokens import Purpose
from tests.integration.api.support import (
    BASE_URL,
    CAMPAIGNS,
    api_settings,
    assert_problem,
    client_of,
    path,
    saved,
    token,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

BAD = {"Authorization": "Bearer made-up"}


@pytest.fixture
async def limited(
    resources: Resources, database_url: str, redis_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[ASGIApp]:
    """The API with the limits of the test's mark, otherwise with three requests a minute for each limit."""
    values = {f"api_rate_{limit}": "3/minute" for limit in ("token", "public", "test")}
    values |= getattr(request, "param", {})
    async with opened(resources, database_url, redis_url, None, **values) as app:
        yield app


@asynccontextmanager
async def opened(
    resources: Resources, database_url: str, redis_url: str, metrics: Metrics | None = None, **values: Any
) -> AsyncIterator[ASGIApp]:
    settings = api_settings(database_url, redis_url, **values)
    async with Resources.open(settings, process="api") as other:
        replaced = dataclasses.replace(resources, limiter=other.limiter, api_rules=other.api_rules)
        yield create_app(replaced, metrics=metrics, response_seconds=60)


def from_address(app: ASGIApp, address: str, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(address, 1)), base_url=BASE_URL, headers=headers
    )


async def statuses(client: httpx.AsyncClient, times: int, address: str = CAMPAIGNS, **options: Any) -> list[int]:
    return [(await client.get(address, **options)).status_code for _ in range(times)]


async def test_a_user_has_a_limit_of_their_own(limited: ASGIApp) -> None:
    async with client_of(limited, token()) as ada, client_of(limited, token(sub="bob")) as bob:
        assert await statuses(ada, 3) == [200] * 3
        response = await ada.get(CAMPAIGNS)
        body = assert_problem(response, 429, "rate-limited")
        assert body["detail"].startswith("Too many requests of this user: 3 per minute are allowed.")
        assert 0 < int(response.headers["retry-after"]) <= 62
        assert response.headers["ratelimit-policy"] == '"token-minute";q=3;w=60'
        assert response.headers["ratelimit"] == f'"token-minute";r=0;t={response.headers["retry-after"]}'
        assert (await bob.get(CAMPAIGNS)).headers["ratelimit"].startswith('"token-minute";r=2;t=')
    async with client_of(limited, token(org_id="globex")) as same_subject:
        assert (await same_subject.get(CAMPAIGNS)).status_code == 200


@pytest.mark.parametrize("limited", [{"api_rate_token": "3/second", "api_rate_public": "3/second"}], indirect=True)
@pytest.mark.parametrize("access_token", [token(), "made-up"])
async def test_after_retry_after_the_request_is_allowed(limited: ASGIApp, access_token: str) -> None:
    async with client_of(limited, access_token) as client:
        while (response := await client.get(CAMPAIGNS)).status_code != 429:
            assert response.status_code in {200, 401}
        await asyncio.sleep(int(response.headers["retry-after"]))
        assert (await client.get(CAMPAIGNS)).status_code != 429


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        (CAMPAIGNS, {}),
        (CAMPAIGNS, BAD),
        ("/nowhere", {}),
        ("/nowhere", {"Authorization": f"Bearer {token()}"}),
        ("/marketing", {}),
        ("/api/marketing/pixel/made-up.gif", {}),
        ("/api/marketing/click/made-up/1", {}),
        ("/api/marketing/unsubscribe/made-up", BAD),
    ],
)
async def test_a_client_without_a_valid_token_is_counted_by_its_address(
    limited: ASGIApp, address: str, headers: dict[str, str]
) -> None:
    async with from_address(limited, "192.0.2.1") as client:
        assert 429 not in await statuses(client, 3, address, headers=headers)
        response = await client.get(address, headers=headers)
        assert_problem(response, 429, "rate-limited")
        assert response.headers["ratelimit-policy"] == '"public-minute";q=3;w=60'
        assert "x-request-id" in response.headers
        assert (await client.get(CAMPAIGNS, headers={"Authorization": f"Bearer {token()}"})).status_code == 200
    async with from_address(limited, "192.0.2.2") as other:
        assert 429 not in await statuses(other, 3, address, headers=headers)


async def test_two_thousand_bad_tokens_get_at_most_the_limit(
    resources: Resources, database_url: str, redis_url: str
) -> None:
    metrics = Metrics()
    async with (
        opened(resources, database_url, redis_url, metrics, api_rate_public="300/minute") as app,
        from_address(app, "192.0.2.1") as client,
    ):
        seen = [
            (await client.get(CAMPAIGNS, headers={"Authorization": f"Bearer {number}"})).status_code
            for number in range(2000)
        ]
    assert set(seen) == {401, 429}
    assert seen[:300] == [401] * 300
    # The machine may need more than a minute.
    assert seen[300:420] == [429] * 120
    text = metrics.exposition(None).decode()
    assert f'marketing_api_refused_total{{limit="public"}} {seen.count(429)}.0' in text


async def test_a_valid_link_is_never_refused_and_not_counted(limited: ASGIApp, resources: Resources) -> None:
    links = {
        f"/api/marketing/{name.format(resources.tokens.issue(purpose, UUID(int=9)))}"
        for name, purpose in (
            ("pixel/{}.gif", Purpose.OPEN),
            ("click/{}/1", Purpose.CLICK),
            ("click/{}/999", Purpose.CLICK),
            ("unsubscribe/{}", Purpose.UNSUBSCRIBE),
        )
    }
    async with from_address(limited, "192.0.2.1") as client:
        for method in ("GET", "HEAD", "POST", "PUT"):
            for link in links:
                for headers in ({}, BAD):
                    response = await client.request(method, link, headers=headers)
                    assert response.status_code in {200, 404, 405}
                    assert "ratelimit" not in response.headers
        assert await statuses(client, 4) == [401, 401, 401, 429]
        for link in links:
            assert (await client.get(link)).status_code in {200, 404}


@pytest.mark.parametrize(
    ("limited", "shared"),
    [
        ({"proxy_hops": 0}, "{0}"),
        ({"proxy_hops": 1}, "{0}, 203.0.113.1"),
        ({"proxy_hops": 2}, "{0}, 203.0.113.1, 203.0.113.7"),
        ({"proxy_hops": 1}, "{0}, 2001:db8::1"),
        ({"proxy_hops": 1}, "{0}, rubbish {0}"),
    ],
    indirect=["limited"],
)
async def test_a_made_up_forwarded_address_lifts_no_limit(limited: ASGIApp, shared: str) -> None:
    async with from_address(limited, "192.0.2.1") as client:
        seen = [
            (
                await client.get(CAMPAIGNS, headers={"X-Forwarded-For": shared.format(f"198.51.100.{number}")})
            ).status_code
            for number in range(1, 6)
        ]
    assert seen == [401, 401, 401, 429, 429]


async def test_a_health_check_is_never_refused(limited: ASGIApp) -> None:
    async with client_of(limited, None) as balancer:
        assert await statuses(balancer, 4, "/nowhere") == [404, 404, 404, 429]
        assert await statuses(balancer, 9, "/healthz") == [200] * 9


@pytest.mark.parametrize("limited", [{"api_rate_token": "", "api_rate_public": "", "api_rate_test": ""}], indirect=True)
async def test_an_empty_setting_switches_a_limit_off(limited: ASGIApp) -> None:
    async with client_of(limited, token()) as ada, client_of(limited, None) as anonymous:
        for client, status in ((ada, 200), (anonymous, 401)):
            responses = [await client.get(CAMPAIGNS) for _ in range(9)]
            assert {response.status_code for response in responses} == {status}
            assert not [response for response in responses if "ratelimit-policy" in response.headers]


@pytest.mark.parametrize("limited", [{"api_rate_token": "", "api_rate_test": "6/hour"}], indirect=True)
class TestTestMails:
    async def test_each_mail_counts_for_the_organisation(self, limited: ASGIApp) -> None:
        five = {"to": [f"{number}@example.com" for number in range(5)]}
        async with client_of(limited, token()) as ada, client_of(limited, token(sub="bob")) as bob:
            campaign = path(await saved(ada), "/test")
            first = await ada.post(campaign, json=five)
            assert first.status_code == 202
            assert first.headers["ratelimit"].startswith('"test-hour";r=1;t=')
            refused = await bob.post(campaign, json=five)
            assert_problem(refused, 429, "rate-limited")
            assert 3000 < int(refused.headers["retry-after"]) <= 3600 * 33 / 32 + 1
            assert (await bob.post(campaign, json={"to": ["one@example.com"]})).status_code == 202
        async with client_of(limited, token(org_id="globex")) as stranger:
            assert (await stranger.post(path(await saved(stranger), "/test"), json=five)).status_code == 202

    async def test_a_request_that_is_refused_or_repeated_uses_nothing_up(self, limited: ASGIApp) -> None:
        five = {"to": [f"{number}@example.com" for number in range(5)]}
        async with client_of(limited, token()) as ada:
            campaign = path(await saved(ada), "/test")
            assert (await ada.post(campaign, json={"to": ["no address"]})).status_code == 422
            assert (await ada.post(path(await saved(ada, htmlBody=None), "/test"), json=five)).status_code == 422
            for _ in range(3):
                repeated = await ada.post(campaign, json=five, headers={"Idempotency-Key": "same"})
                assert repeated.status_code == 202
            assert (await ada.post(campaign, json={"to": ["one@example.com"]})).status_code == 202

    async def test_addresses_that_are_left_out_do_not_count(self, limited: ASGIApp) -> None:
        async with client_of(limited, token()) as ada:
            await ada.post("/api/marketing/suppressions", json={"email": "ann@example.com"})
            campaign = path(await saved(ada), "/test")
            for number in range(6):
                to = {"to": ["Ann@example.com", f"{number}@example.com"]}
                response = await ada.post(campaign, json=to)
                assert response.json() == {
                    "sent": [f"{number}@example.com"],
                    "leftOut": [{"email": "Ann@example.com", "reason": "SUPPRESSED"}],
                }


@pytest.mark.parametrize("limited", [{"api_rate_test": "2/hour"}], indirect=True)
async def test_more_test_mails_than_the_limit_ever_allows_are_invalid(limited: ASGIApp) -> None:
    async with client_of(limited, token()) as ada:
        to = {"to": [f"{number}@example.com" for number in range(3)]}
        response = await ada.post(path(await saved(ada), "/test"), json=to)
    assert_problem(response, 422, "invalid-input", "to")
