"""Reports (bounces and complaints) submitted over HTTP."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.api.app import create_app
from marketing_service.api.metrics import Metrics
from marketing_service.tokens import BounceAddresses, TokenKeyring
from tests.integration.api.support import assert_problem, client_of, path, token
from tests.support.ledger import contact, launched, send_rows
from tests.support.reports import BOUNCE_DOMAIN, MAILBOX_FULL, UNKNOWN_USER, VACATION, delivery_report
from tests.support.steps import claim, deliver_all, mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

PATH = "/api/marketing/bounces"
ADDRESSES = BounceAddresses(TokenKeyring([b"k" * 32]), BOUNCE_DOMAIN)
ROLES = ["BOUNCES"]


@pytest.fixture
async def mta(resources: Resources, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    """A mail system with a token of acme."""
    app = create_app(dataclasses.replace(resources, bounces=ADDRESSES), metrics=metrics)
    async with client_of(app, token(roles=ROLES)) as client:
        yield client


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def delivered(owner: Database) -> tuple[UUID, dict[str, Any]]:
    campaign_id = await launched(owner, [contact(1, email="ann@example.com", address="ann@example.com")])
    await deliver_all(owner, campaign_id)
    return campaign_id, (await send_rows(owner, campaign_id))[0]


async def submit_report(client: httpx.AsyncClient, recipient: str, raw: bytes) -> httpx.Response:
    return await client.post(
        PATH, params={"recipient": recipient}, content=raw, headers={"Content-Type": "message/rfc822"}
    )


async def test_a_report_fails_its_send_once(
    mta: httpx.AsyncClient, admin: httpx.AsyncClient, delivered: tuple[UUID, dict[str, Any]], metrics: Metrics
) -> None:
    campaign_id, send = delivered
    recipient = ADDRESSES.of(send["id"], 1)
    response = await submit_report(mta, recipient, delivery_report(UNKNOWN_USER))
    assert (response.status_code, response.json()) == (200, {"kind": "FAILED", "outcome": "BOUNCED_HARD"})
    again = await mta.post(
        PATH, content=delivery_report(UNKNOWN_USER), headers={"Content-Type": "message/rfc822", "Recipient": recipient}
    )
    assert again.json()["outcome"] == "NOTHING"
    stats = (await admin.get(path(campaign_id, "/stats"))).json()
    assert (stats["failed"], stats["delivered"], stats["hardBounces"], stats["softBounces"]) == (1, 0, 1, 0)
    entry = (await admin.get(path(campaign_id, "/sends"))).json()["items"][0]
    assert (entry["status"], entry["reason"], entry["error"]["smtpCode"]) == ("FAILED", "BOUNCED_HARD", 550)
    listed = (await admin.get("/api/marketing/suppressions")).json()["items"]
    assert [(item["email"], item["reason"], item["campaignId"]) for item in listed] == [
        ("ann@example.com", "HARD_BOUNCE", str(campaign_id))
    ]
    counted = metrics.exposition(None).decode()
    assert 'marketing_reports_total{kind="FAILED",outcome="BOUNCED_HARD"} 1.0' in counted


async def test_a_token_acts_on_its_own_organisation(
    resources: Resources, owner: Database, delivered: tuple[UUID, dict[str, Any]]
) -> None:
    campaign_id, send = delivered
    app = create_app(dataclasses.replace(resources, bounces=ADDRESSES))
    async with client_of(app, token(org_id="globex", roles=ROLES)) as client:
        response = await submit_report(client, ADDRESSES.of(send["id"], 1), delivery_report(MAILBOX_FULL))
    assert response.json() == {"kind": "FAILED", "outcome": "UNKNOWN"}
    assert await send_rows(owner, campaign_id) == [send]


async def test_it_needs_a_role_of_its_own(mta: httpx.AsyncClient, resources: Resources) -> None:
    app = create_app(dataclasses.replace(resources, bounces=ADDRESSES))
    async with client_of(app, token(roles=["ADMIN"])) as admin:
        problem = assert_problem(await submit_report(admin, ADDRESSES.complaints, VACATION), 403, "role")
        assert "BOUNCES" in problem["detail"]
    assert_problem(await mta.post("/api/marketing/suppressions", json={"email": "a@example.com"}), 403, "role")


async def test_an_unproven_report_and_a_message_that_is_no_report_have_different_outcomes(
    mta: httpx.AsyncClient,
) -> None:
    assert (await submit_report(mta, "ann@example.com", VACATION)).json() == {"kind": "OTHER", "outcome": "UNKNOWN"}
    assert (await submit_report(mta, ADDRESSES.complaints, b"\xff\0")).json() == {"kind": "OTHER", "outcome": "NOTHING"}


async def test_what_is_missing_is_named(mta: httpx.AsyncClient, admin: httpx.AsyncClient, resources: Resources) -> None:
    headers = {"Content-Type": "message/rfc822"}
    assert_problem(await mta.post(PATH, content=VACATION, headers=headers), 422, "invalid-input", "recipient")
    both = await mta.post(f"{PATH}?recipient=a", content=VACATION, headers=headers | {"Recipient": "b"})
    assert_problem(both, 422, "invalid-input", "recipient")
    assert_problem(await mta.post(f"{PATH}?recipient=a&x=y", content=b"", headers=headers), 422, "invalid-input", "x")
    assert_problem(await mta.post(f"{PATH}?recipient=a", json={}), 422, "invalid-input", "Content-Type")
    assert_problem(await submit_report(mta, "a", b"x" * 3_000_001), 413, "too-large")
    async with client_of(create_app(resources), token(roles=ROLES)) as without_domain:
        assert_problem(await submit_report(without_domain, "a@b.example", VACATION), 409, "wrong-state")


async def test_a_report_that_arrives_before_the_relays_reply_gets_a_503(
    mta: httpx.AsyncClient, owner: Database
) -> None:
    campaign_id = await launched(owner, 1)
    lease, waiting = await claim(owner, campaign_id)
    await mark(owner, lease, *waiting)
    response = await submit_report(mta, ADDRESSES.of(waiting[0].id, 1), delivery_report(UNKNOWN_USER))
    assert_problem(response, 503, "unavailable")
    assert "retry-after" in response.headers
