"""Every route with the token of another organisation: the campaign is not found."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import event

from marketing_service.api.app import create_app
from marketing_service.api.openapi import openapi_document
from marketing_service.bootstrap import Resources
from marketing_service.db import Database
from tests.integration.api.support import CAMPAIGNS, assert_problem, client_of, path, token
from tests.support.ledger import launched

_UNKNOWN = UUID(int=1)


def calls(campaign_id: Any, send_id: Any, resend_id: Any = _UNKNOWN) -> list[tuple[str, str, Any]]:
    return [
        ("GET", path(campaign_id), None),
        ("PATCH", path(campaign_id), {"name": "Mine"}),
        ("DELETE", path(campaign_id), None),
        ("GET", path(campaign_id, "/stats"), None),
        ("GET", path(campaign_id, "/events"), None),
        ("GET", path(campaign_id, "/reasons"), None),
        ("GET", path(campaign_id, "/links"), None),
        ("GET", path(campaign_id, "/timeline"), None),
        ("GET", path(campaign_id, "/preview"), None),
        ("GET", path(campaign_id, "/sends"), None),
        ("GET", path(campaign_id, "/sends.csv"), None),
        ("POST", path(campaign_id, "/schedule"), {"at": "2099-12-01T09:00:00Z"}),
        ("DELETE", path(campaign_id, "/schedule"), None),
        ("POST", path(campaign_id, "/launch"), None),
        ("POST", path(campaign_id, "/pause"), None),
        ("POST", path(campaign_id, "/resume"), None),
        ("POST", path(campaign_id, "/cancel"), None),
        ("POST", path(campaign_id, "/duplicate"), None),
        ("POST", path(campaign_id, "/check"), None),
        ("GET", path(campaign_id, "/check"), None),
        ("POST", path(campaign_id, "/test"), {"to": ["a@b.example"]}),
        ("POST", path(campaign_id, f"/sends/{send_id}/resend"), None),
        ("POST", path(campaign_id, "/resend"), {"status": ["FAILED"]}),
        ("GET", path(campaign_id, f"/resends/{resend_id}"), None),
    ]


def test_every_route_with_an_id_is_tried() -> None:
    """A new route must be added to `calls`."""
    tried = {(method, address) for method, address, _ in calls("{id}", "{sendId}", "{resendId}")}
    paths = openapi_document()["paths"]
    assert tried == {(method.upper(), address) for address in paths if "{id}" in address for method in paths[address]}


@contextmanager
def own_filter_removed(database: Database) -> Iterator[list[str]]:
    """Removes the comparison with org_id from the statements of `database`. Yields the changed statements."""
    changed: list[str] = []

    def rewrite(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        rewritten = re.sub(r"\b(?:\w+\.)?org_id = (\$\d+)(?:::\w+)?", r"\1::text IS NOT NULL", statement)
        if rewritten != statement:
            changed.append(statement)
        return rewritten, parameters

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", rewrite, retval=True)
    yield changed
    event.remove(engine, "before_cursor_execute", rewrite)


async def assert_nothing_disclosed(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, campaign_id: Any, send_id: str
) -> None:
    for method, address, body in calls(campaign_id, send_id):
        response = await stranger.request(method, address, json=body)
        assert_problem(response, 404, "not-found")
        assert "acme" not in response.text
    assert (await stranger.get(CAMPAIGNS)).json()["items"] == []
    assert (await stranger.get("/api/marketing/audit", params={"campaignId": str(campaign_id)})).json()["items"] == []
    assert (await stranger.get("/api/marketing/stats")).json()["total"] == 0


async def test_another_organisation_sees_and_changes_nothing(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
) -> None:
    campaign_id = await launched(owner)
    send_id = (await admin.get(path(campaign_id, "/sends"))).json()["items"][0]["id"]
    before = (await admin.get(path(campaign_id))).json()
    await assert_nothing_disclosed(admin, stranger, campaign_id, send_id)
    assert (await admin.get(path(campaign_id))).json() == before


async def test_row_level_security_alone_separates_organisations(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    """The filter of the statements is removed. The owner of the tables, who is not restricted, sees the rows."""
    campaign_id = await launched(owner)
    send_id = (await admin.get(path(campaign_id, "/sends"))).json()["items"][0]["id"]
    database = resources.transactions.__self__  # type: ignore[attr-defined]  # a bound method of Database
    with own_filter_removed(database) as changed:
        await assert_nothing_disclosed(admin, stranger, campaign_id, send_id)
    assert len(changed) >= len(calls("", ""))

    past_every_policy = dataclasses.replace(resources, transactions=owner.transaction)
    async with client_of(create_app(past_every_policy), token(org_id="globex")) as client:
        assert (await client.get(path(campaign_id))).status_code == 404
        with own_filter_removed(owner):
            assert (await client.get(path(campaign_id))).status_code == 200
