"""Tracked links: they lead only to their own target, and clicks of people and machines are counted."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.db import Database
from marketing_service.rendering import MAX_LINKS
from marketing_service.store.clicks import write_links
from marketing_service.tokens import Purpose
from tests.integration.api.recipients import BROWSER
from tests.integration.api.support import CAMPAIGNS, assert_problem, client_of, path, saved
from tests.support.ledger import ORG, assert_adds_up, contact, launched, send_rows
from tests.support.no_database import NoDatabase
from tests.support.steps import deliver_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from marketing_service.bootstrap import Resources

CLICK = "/api/marketing/click/{}/{}"
LINKS = (
    "https://shop.example/?a=1&amp;b={{ firstName }}#top",
    "https://{{ companyName }}.example/",
    "javascript:alert(1)",
)
TARGET = "https://shop.example/?a=1&b=Ada%20%3Cb%3E#top"


@dataclasses.dataclass
class Sent:
    campaign_id: UUID
    send_id: UUID
    token: str


@pytest.fixture
async def sent(owner: Database, resources: Resources) -> Sent:
    """A send with links, delivered some time ago."""
    person = contact(1, first_name="Ada <b>", company_name="evil")
    campaign_id = await launched(owner, [person], track_clicks=True)
    async with owner.transaction() as tx:
        await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=LINKS)
    await deliver_all(owner, campaign_id)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_sends SET sent_at = sent_at - interval '1 minute'"))
    (row,) = await send_rows(owner, campaign_id)
    return Sent(campaign_id, row["id"], resources.tokens.issue(Purpose.CLICK, row["id"]))


@pytest.fixture
async def down(resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
    nowhere = Database("postgresql://nobody@127.0.0.1:9/none", role="marketing_api", connect_timeout=0.5)
    gone = dataclasses.replace(resources, transactions=nowhere.transaction, call=nowhere.call)
    async with client_of(create_app(gone), None) as client:
        yield client
    await nowhere.close()


async def stats(admin: httpx.AsyncClient, sent: Sent) -> dict[str, Any]:
    response = await admin.get(path(sent.campaign_id, "/links"))
    link: dict[str, Any] = response.json()["items"][0]
    assert link.pop("number") == 1
    assert link.pop("url") == "https://shop.example/?a=1&b={{ firstName }}#top"
    return link


def assert_redirect(response: httpx.Response) -> None:
    assert (response.status_code, response.headers["location"]) == (302, TARGET)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in response.headers
    assert response.content == b""


def assert_page(response: httpx.Response, status: int) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "location" not in response.headers
    assert "shop.example" not in response.text


async def test_a_click_leads_to_the_links_own_target_and_counts(
    anonymous: httpx.AsyncClient, admin: httpx.AsyncClient, owner: Database, sent: Sent
) -> None:
    for clicks_so_far in (1, 2):
        assert_redirect(await anonymous.get(CLICK.format(sent.token, 1), headers=BROWSER))
        assert await stats(admin, sent) == {"clicks": 1, "totalClicks": clicks_so_far, "machineClicks": 0}
    assert (await admin.get(path(sent.campaign_id, "/stats"))).json()["clicks"] == 1
    assert (await assert_adds_up(owner, sent.campaign_id))["clicks"] == 1


@pytest.mark.parametrize(
    "headers",
    [{"User-Agent": ""}, {"User-Agent": "curl/8.5.0"}, BROWSER | {"Sec-Purpose": "prefetch;prerender"}],
    ids=str,
)
async def test_a_machine_is_redirected_too_and_counted_separately(
    anonymous: httpx.AsyncClient, admin: httpx.AsyncClient, sent: Sent, headers: dict[str, str]
) -> None:
    assert_redirect(await anonymous.get(CLICK.format(sent.token, 1), headers=headers))
    assert await stats(admin, sent) == {"clicks": 0, "totalClicks": 0, "machineClicks": 1}
    assert (await admin.get(path(sent.campaign_id, "/stats"))).json()["clicks"] == 0


async def test_a_click_right_after_the_delivery_is_a_machines(
    anonymous: httpx.AsyncClient, admin: httpx.AsyncClient, owner: Database, sent: Sent
) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_sends SET sent_at = clock_timestamp()"))
    assert_redirect(await anonymous.get(CLICK.format(sent.token, 1), headers=BROWSER))
    assert await stats(admin, sent) == {"clicks": 0, "totalClicks": 0, "machineClicks": 1}


async def test_head_gets_the_same_response_and_counts_nothing(
    anonymous: httpx.AsyncClient, admin: httpx.AsyncClient, sent: Sent
) -> None:
    for headers in (BROWSER, {"User-Agent": "curl/8.5.0"}):
        assert_redirect(await anonymous.head(CLICK.format(sent.token, 1), headers=headers))
    assert await stats(admin, sent) == {"clicks": 0, "totalClicks": 0, "machineClicks": 0}


async def test_parameters_of_a_link_tracker_do_not_change_the_target(anonymous: httpx.AsyncClient, sent: Sent) -> None:
    address = CLICK.format(sent.token, 1)
    assert_redirect(await anonymous.get(address, params={"url": "https://evil.example", "to": "//evil.example"}))
    assert_redirect(await anonymous.get(f"{address}/https://evil.example"))


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "01",
        "2",
        "3",
        "4",
        str(MAX_LINKS + 1),
        "-1",
        "1.0",
        "9" * 400,
        "x",
        "%31%00",
        "https:evil.example",
    ],
)
async def test_a_number_that_is_no_link_of_the_campaign_leads_nowhere(
    anonymous: httpx.AsyncClient, sent: Sent, number: str
) -> None:
    """The rows 2 and 3 have targets that no compiled message contains."""
    assert_page(await anonymous.get(CLICK.format(sent.token, number)), 404)


@pytest.mark.parametrize("token", ["x", "%00", "a" * 5000, "🙂", "A" * 43, "%ff"])
async def test_a_bad_token_leads_nowhere_and_costs_no_query(
    anonymous: httpx.AsyncClient, resources: Resources, token: str
) -> None:
    assert_page(await anonymous.get(CLICK.format(token, 1)), 404)
    database = NoDatabase()
    without = dataclasses.replace(resources, transactions=database.transaction, call=database.call)
    async with client_of(create_app(without), None) as client:
        assert_page(await client.get(CLICK.format(token, 1)), 404)
    assert database.uses == 0


async def test_tokens_of_other_purposes_and_of_no_send_lead_nowhere(
    anonymous: httpx.AsyncClient, resources: Resources, sent: Sent
) -> None:
    others = [resources.tokens.issue(purpose, sent.send_id) for purpose in Purpose if purpose is not Purpose.CLICK]
    for token in (*others, resources.tokens.issue(Purpose.CLICK, UUID(int=7))):
        assert_page(await anonymous.get(CLICK.format(token, 1)), 404)
    for address in ("/api/marketing/unsubscribe/{}", "/api/marketing/pixel/{}.gif"):
        await anonymous.get(address.format(sent.token))


async def test_a_click_token_opts_nobody_out(anonymous: httpx.AsyncClient, owner: Database, sent: Sent) -> None:
    assert (await anonymous.post(f"/api/marketing/unsubscribe/{sent.token}")).status_code == 404
    async with owner.transaction() as tx:
        assert (await tx.connection.execute(text("SELECT count(*) FROM marketing_opt_outs"))).scalar_one() == 0


async def test_with_postgresql_down_there_is_a_page_to_try_again(down: httpx.AsyncClient, sent: Sent) -> None:
    async with asyncio.timeout(5):
        response = await down.get(CLICK.format(sent.token, 1), headers=BROWSER | {"Accept-Language": "fr"})
    assert_page(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert '<html lang="fr">' in response.text
    assert "Réessayer" in response.text


class TestTheCampaign:
    async def test_clicks_are_not_tracked_by_default(self, admin: httpx.AsyncClient) -> None:
        campaign = await saved(admin)
        assert campaign["trackClicks"] is False
        changed = (await admin.patch(path(campaign), json={"trackClicks": True})).json()
        assert changed["trackClicks"] is True
        copy = (await admin.post(path(campaign, "/duplicate"))).json()
        assert copy["trackClicks"] is True
        assert (await saved(admin, trackClicks=True))["trackClicks"] is True

    @pytest.mark.parametrize("value", ["yes", 1, None])
    async def test_it_is_true_or_false(self, admin: httpx.AsyncClient, value: Any) -> None:
        campaign = await saved(admin)
        assert_problem(
            await admin.patch(path(campaign), json={"trackClicks": value}), 422, "invalid-input", "trackClicks"
        )
        message = {"name": "x", "subject": "x", "fromEmail": "a@acme.example", "trackClicks": value}
        assert_problem(await admin.post(CAMPAIGNS, json=message), 422, "invalid-input", "trackClicks")

    async def test_only_a_draft_can_change_it(self, admin: httpx.AsyncClient, sent: Sent) -> None:
        response = await admin.patch(path(sent.campaign_id), json={"trackClicks": False})
        assert_problem(response, 409, "wrong-state")

    async def test_without_links_the_list_is_empty(self, admin: httpx.AsyncClient, owner: Database) -> None:
        for campaign in (await saved(admin, trackClicks=True), await launched(owner, 1)):
            assert (await admin.get(path(campaign, "/links"))).json() == {"items": []}

    async def test_another_organisation_sees_none(self, stranger: httpx.AsyncClient, sent: Sent) -> None:
        assert_problem(await stranger.get(path(sent.campaign_id, "/links")), 404, "not-found")

    async def test_the_preview_has_the_real_targets(self, admin: httpx.AsyncClient) -> None:
        html = '<a href="https://shop.example/">x</a>'
        campaign = await saved(admin, trackClicks=True, htmlBody=html)
        assert html in (await admin.get(path(campaign, "/preview"))).json()["html"]
