"""The audit trail: every route that changes or exports data leaves one entry, in the same transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from marketing_service.api.openapi import openapi_document
from marketing_service.db import Database
from marketing_service.errors import Unavailable
from marketing_service.ledger import lifecycle
from marketing_service.store.audit import Action
from tests.integration.api.acts import (
    ACTS,
    CSV,
    HTTP_METHODS,
    NO_ACTS,
    SUPPRESSIONS,
    entries,
)
from tests.integration.api.support import (
    CAMPAIGNS,
    MESSAGE,
    assert_problem,
    client_of,
    path,
    saved,
    token,
)
from tests.support.ledger import launched

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp


def test_every_route_that_changes_or_exports_data_is_an_act() -> None:
    """A new route must be added to ACTS, or to NO_ACTS with the reason."""
    routes = {
        (method.upper(), address)
        for address, operations in openapi_document()["paths"].items()
        for method, operation in operations.items()
        if method in HTTP_METHODS or "text/csv" in operation["responses"].get("200", {}).get("content", {})
    }
    assert routes == ACTS.keys() | NO_ACTS.keys()


@pytest.mark.parametrize("route", ACTS, ids=" ".join)
async def test_an_act_leaves_one_entry(route: tuple[str, str], admin: httpx.AsyncClient, owner: Database) -> None:
    act = await ACTS[route](admin, owner)
    before = await entries(admin)
    response = await act.perform(admin)
    assert response.is_success, response.text
    entry, *others = await entries(admin)
    assert others == before
    campaign_id = act.campaign_id
    if act.action is Action.CREATED:
        campaign_id = response.json()["id"]
    if act.action is Action.SUPPRESSED:
        act.details["suppressionId"] = response.json()["id"]
    if act.action is Action.RESENT and "sendId" not in act.details:
        act.details["resendId"] = response.json()["id"]
    if act.action is Action.IMPORTED:
        act.details["importId"] = response.json()["id"]
    assert entry == {
        "id": entry["id"],
        "at": entry["at"],
        "actor": "ada",
        "action": act.action,
        "campaignId": campaign_id,
        "details": act.details,
    }
    assert "@" not in json.dumps(entry["details"])
    assert "Only for recipients" not in json.dumps(entry)
    assert len(json.dumps(entry)) < 1000


@pytest.mark.parametrize("route", ACTS, ids=" ".join)
async def test_without_its_entry_nothing_is_done(
    route: tuple[str, str], admin: httpx.AsyncClient, owner: Database
) -> None:
    """The table refuses entries: the act fails as a whole. Exports begin with the entry, so nothing is exported."""
    act = await ACTS[route](admin, owner)
    state = (
        "SELECT jsonb_agg(to_jsonb(c) ORDER BY c.id) FROM marketing_campaigns c",
        "SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM marketing_suppressions s",
        "SELECT jsonb_agg(to_jsonb(s) ORDER BY s.id) FROM marketing_sends s",
        "SELECT count(*) FROM marketing_test_mails",
        "SELECT count(*) FROM marketing_preflights",
        "SELECT count(*) FROM marketing_suppression_imports",
        "SELECT count(*) FROM marketing_resends",
    )

    async def everything() -> list[Any]:
        async with owner.transaction() as tx:
            return [(await tx.connection.execute(text(statement))).scalar_one() for statement in state]

    before = await everything()
    async with owner.transaction() as tx:
        await tx.connection.execute(text("REVOKE INSERT ON marketing_audit FROM marketing_api"))
    assert_problem(await act.perform(admin), 503, "unavailable")
    assert await everything() == before


@pytest.mark.parametrize("route", [route for route in ACTS if route[0] == "POST"], ids=" ".join)
async def test_a_repeated_request_leaves_no_second_entry(
    route: tuple[str, str], admin: httpx.AsyncClient, owner: Database
) -> None:
    """With an Idempotency-Key, or because the second time nothing changes."""
    act = await ACTS[route](admin, owner)
    first = await act.perform(admin, **{"Idempotency-Key": "5f0c6c3e"})
    assert first.is_success
    before = await entries(admin)
    again = await act.perform(admin, **{"Idempotency-Key": "5f0c6c3e"})
    assert again.is_success or act.action is Action.CANCELLED  # the campaign is SENT by now
    assert await entries(admin) == before


async def test_an_import_is_an_act_even_if_every_address_is_known(admin: httpx.AsyncClient) -> None:
    file = "email\nann@example.com\n"
    for _ in range(2):
        assert (await admin.post(f"{SUPPRESSIONS}.csv", content=file, headers=CSV)).status_code == 200
    counts = [(entry["details"]["added"], entry["details"]["known"]) for entry in await entries(admin)]
    assert counts == [(0, 1), (1, 0)]


async def test_an_empty_change_is_no_act(admin: httpx.AsyncClient) -> None:
    campaign = await saved(admin)
    assert (await admin.patch(path(campaign), json={})).status_code == 200
    assert [entry["action"] for entry in await entries(admin)] == ["created"]


async def test_a_refused_request_leaves_no_entry(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await saved(admin)
    sending = await launched(owner)
    before = await entries(admin)
    refused = [
        await admin.post(CAMPAIGNS, json=MESSAGE | {"name": ""}),
        await admin.post(CAMPAIGNS, json=MESSAGE | {"htmlBody": "{{nobody}}"}),
        await admin.patch(path(campaign), json={"name": "Other"}, headers={"If-Match": '"9"'}),
        await admin.post(path(sending, "/launch")),
        await admin.delete(path(sending)),
        await admin.post(path(campaign, "/pause")),
        await admin.post(path(campaign, "/test"), json={"to": ["nobody"]}),
        await admin.delete(f"{SUPPRESSIONS}/{campaign['id']}"),
        await admin.post(f"{SUPPRESSIONS}.csv", content=b"nothing", headers=CSV),
        await viewer.post(CAMPAIGNS, json=MESSAGE),
        await viewer.post(path(campaign, "/launch")),
        await stranger.post(path(campaign, "/launch")),
        await stranger.get(path(sending, "/sends.csv")),
    ]
    assert [response.status_code for response in refused] == [
        422, 422, 412, 409, 409, 409, 422, 404, 422, 403, 403, 404, 404,
    ]  # fmt: skip
    assert await entries(admin) == before
    assert await entries(stranger) == []


async def test_what_the_service_does_by_itself_has_the_actor_system(
    admin: httpx.AsyncClient, owner: Database, database_url: str
) -> None:
    campaign = await launched(owner)
    worker = Database(database_url, role="marketing_worker", pool_size=1)
    async with worker.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign, lifecycle.PauseReason.RELAY_DOWN)
        assert not await lifecycle.pause(tx.connection, campaign, lifecycle.PauseReason.RELAY_DOWN)
    async with worker.transaction() as tx:
        assert await lifecycle.resume_after_relay(tx.connection, campaign)
        assert not await lifecycle.resume_after_relay(tx.connection, campaign)
    await worker.close()
    found = await entries(admin, actor="system", campaignId=str(campaign))
    assert [(entry["action"], entry["details"]) for entry in found] == [
        ("resumed", {}),
        ("paused", {"pauseReason": "RELAY_DOWN"}),
    ]


async def test_no_user_can_act_as_the_system(app: ASGIApp) -> None:
    async with client_of(app, token(sub="system")) as client:
        assert_problem(await client.post(CAMPAIGNS, json=MESSAGE), 401, "unauthenticated")


@pytest.mark.parametrize("role", ["marketing_api", "marketing_worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE marketing_audit SET actor = 'eve'",
        "DELETE FROM marketing_audit",
        "TRUNCATE marketing_audit",
        "ALTER TABLE marketing_audit DISABLE ROW LEVEL SECURITY",
        "DROP TABLE marketing_audit",
    ],
)
async def test_no_role_of_the_service_can_change_an_entry(
    admin: httpx.AsyncClient, database_url: str, role: Any, statement: str
) -> None:
    await saved(admin)
    before = await entries(admin)
    database = Database(database_url, role=role, pool_size=1)
    with pytest.raises(Unavailable, match="does not give this service the rights"):
        async with database.transaction("acme") as tx:
            await tx.connection.execute(text(statement))
    await database.close()
    assert await entries(admin) == before


async def test_the_api_cannot_write_an_entry_of_another_organisation(
    stranger: httpx.AsyncClient, database_url: str
) -> None:
    database = Database(database_url, role="marketing_api", pool_size=1)
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction("acme") as tx:
            await tx.connection.execute(
                text(
                    "INSERT INTO marketing_audit (org_id, actor, action, details)"
                    " VALUES ('globex', 'eve', 'launched', '{}')"
                )
            )
    await database.close()
    assert await entries(stranger) == []


async def test_an_organisation_sees_only_its_own_entries(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, database_url: str
) -> None:
    campaign = await saved(admin)
    assert await entries(stranger) == []
    assert await entries(stranger, campaignId=campaign["id"]) == []
    database = Database(database_url, role="marketing_api", pool_size=1)
    async with database.transaction("globex") as tx:
        # Row-level security alone: the statement has no filter.
        assert (await tx.connection.execute(text("SELECT count(*) FROM marketing_audit"))).scalar_one() == 0
    await database.close()


async def test_an_action_of_a_newer_version_can_be_read(admin: httpx.AsyncClient, owner: Database) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_audit (org_id, actor, action, details)"
                " VALUES ('acme', 'ada', 'archived', '{\"by\": 1}')"
            )
        )
    (entry,) = await entries(admin)
    assert (entry["action"], entry["details"], UUID(entry["id"]).version) == ("archived", {"by": 1}, 7)
