"""Bulk resends over HTTP: what is accepted, what is refused, and the progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api.support import assert_problem, path, saved
from tests.support.ledger import launched
from tests.support.steps import settle_as

if TYPE_CHECKING:
    import httpx

    from marketing_service.db import Database

UNKNOWN_ID = "0197c1b2-a3d4-7000-8000-000000000000"


async def test_a_request_is_accepted_with_what_matches_and_has_a_progress(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await launched(owner, 3)
    await settle_as(owner, campaign, "CASE WHEN contact_id = 'c000000' THEN 'DELIVERED' ELSE 'FAILED' END")
    response = await admin.post(path(campaign, "/resend"), json={"status": ["FAILED", "FAILED", "UNCONFIRMED"]})
    accepted = response.json()
    assert (response.status_code, accepted) == (202, {"id": accepted["id"], "matching": 2})
    assert response.headers["location"] == path(campaign, f"/resends/{accepted['id']}")
    progress = await viewer.get(response.headers["location"])
    assert (progress.status_code, progress.json()) == (
        200,
        {"matching": 2, "accepted": 0, "refused": {}, "done": False},
    )


async def test_a_request_that_matches_nothing_is_done_at_once(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign = await launched(owner, 1)
    body = {"status": ["FAILED"], "reason": ["REJECTED"]}
    for _ in range(2):
        response = await admin.post(path(campaign, "/resend"), json=body)
        assert response.json()["matching"] == 0
        progress = (await admin.get(response.headers["location"])).json()
        assert progress == {"matching": 0, "accepted": 0, "refused": {}, "done": True}


async def test_a_second_request_is_refused_until_the_first_one_is_done(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await launched(owner, 1)
    await settle_as(owner, campaign, "'FAILED'")
    assert (await admin.post(path(campaign, "/resend"), json={"status": ["FAILED"]})).status_code == 202
    problem = assert_problem(
        await admin.post(path(campaign, "/resend"), json={"status": ["UNCONFIRMED"]}), 409, "wrong-state"
    )
    assert "done" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "status"),
        ({"status": []}, "status"),
        ({"status": "FAILED"}, "status"),
        ({"status": ["DELIVERED"]}, "status[0]"),
        ({"status": ["FAILED", "SKIPPED"]}, "status[1]"),
        ({"status": ["FAILED"], "reason": ["OPTED_OUT"]}, "reason[0]"),
        ({"status": ["FAILED"], "reason": None}, "reason"),
        ({"status": ["FAILED"], "reasons": ["REJECTED"]}, "reasons"),
        ({"status": ["FAILED"] * 51}, "status"),
    ],
)
async def test_bad_input_is_named_and_nothing_is_requested(
    admin: httpx.AsyncClient, owner: Database, body: dict[str, Any], field: str
) -> None:
    campaign = await launched(owner, 1)
    await settle_as(owner, campaign, "'FAILED'")
    assert_problem(await admin.post(path(campaign, "/resend"), json=body), 422, "invalid-input", field)
    assert (await admin.post(path(campaign, "/resend"), json={"status": ["FAILED"]})).status_code == 202


async def test_only_a_launched_campaign_of_the_own_organisation(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, viewer: httpx.AsyncClient, owner: Database
) -> None:
    draft, campaign = await saved(admin), await launched(owner, 1)
    await settle_as(owner, campaign, "'FAILED'")
    body = {"status": ["FAILED"]}
    assert_problem(await admin.post(path(draft, "/resend"), json=body), 409, "wrong-state")
    assert_problem(await stranger.post(path(campaign, "/resend"), json=body), 404, "not-found")
    assert_problem(await viewer.post(path(campaign, "/resend"), json=body), 403, "role")
    assert_problem(await admin.get(path(campaign, f"/resends/{UNKNOWN_ID}")), 404, "not-found")
    made = (await admin.post(path(campaign, "/resend"), json=body)).headers["location"]
    assert_problem(await stranger.get(made), 404, "not-found")
    assert_problem(await admin.get(made.replace(str(campaign), draft["id"])), 404, "not-found")
