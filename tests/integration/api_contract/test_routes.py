"""Rules for every route of the application, including new ones: the list comes from the application itself."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.routing import APIRoute

from marketing_service.api.app import _ROUTERS, create_app
from marketing_service.auth import mint_token
from marketing_service.campaigns import bulk_resends, suppression_list
from marketing_service.campaigns.suppression_imports import import_file
from marketing_service.devstack.contacts import ORG_ID, OTHER_ORG_ID
from marketing_service.store.audit import Actor
from marketing_service.store.states import SendStatus
from tests.support.world import ISSUER, JWT_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.world import World

MARK = "Zanzibar"
"""A word in all data of one organisation."""
# Routes without an access token: the links of recipients, which have their own token, and those for operators.
PUBLIC = {
    "/api/marketing/pixel/{token}.gif",
    "/api/marketing/click/{token}/{number}",
    "/api/marketing/unsubscribe/{token}",
    "/healthz",
    "/readyz",
    "/metrics",
}
ONE = "/api/marketing/campaigns/{id}"
AUDIT = "/api/marketing/audit"
# Without a body, these requests would be refused for that reason.
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", ONE): {"name": "Mine"},
    ("POST", ONE + "/schedule"): {"at": (datetime.now(UTC) + timedelta(days=1)).isoformat()},
    ("POST", ONE + "/resend"): {"status": ["FAILED"]},
    ("POST", ONE + "/test"): {"to": ["me@globex.example"]},
    ("POST", "/api/marketing/preview"): {"htmlBody": "Mine"},
}
# POST requests that change nothing.
ONLY_READ = {("POST", "/api/marketing/preview")}
ROUTES = sorted(
    (method, route.path)
    for router in _ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and route.path not in PUBLIC
    for method in route.methods or ()
)
OF_SOMETHING = [(method, path) for method, path in ROUTES if "{" in path]
OF_AN_ORGANISATION = [(method, path) for method, path in ROUTES if "{" not in path]


def token(org_id: str, *roles: str) -> str:
    return mint_token(
        JWT_SECRET,
        ISSUER,
        "marketing",
        subject="ada",
        org_id=org_id,
        roles=roles,
        features=["marketing"],
        lifetime_seconds=900,
    )


@pytest.fixture
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(world.api))
    async with httpx.AsyncClient(transport=transport, base_url="http://marketing.test") as client:
        yield client


async def ask(
    api: httpx.AsyncClient, method: str, path: str, access_token: str | None, ids: dict[str, str]
) -> httpx.Response:
    address = re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], path)
    headers = {} if access_token is None else {"Authorization": f"Bearer {access_token}"}
    return await api.request(method, address, json=BODIES.get((method, path)), headers=headers)


def body_of(response: httpx.Response) -> dict[str, Any]:
    """The body without the request id, which differs each time, and without the entries of this test's own exports."""
    if not response.headers["content-type"].endswith("json"):
        return {"text": response.text}
    body = {**response.json(), "requestId": ""}
    if response.request.url.path == AUDIT:
        body["items"] = [entry for entry in body["items"] if entry["action"] != "exported"]
    return body


async def other_organisations_ids(world: World) -> dict[str, str]:
    """The ids of a campaign of ORG_ID, of one of its sends, of a bulk resend, of a suppression and of an import."""
    campaign_id = await world.launch_to(
        f"{MARK}@example.com",
        name=MARK,
        subject=MARK,
        html_body=MARK,
        created_by=MARK,
        from_email=f"{MARK}@acme.example",
    )
    (send,) = (await world.sends(campaign_id)).values()
    suppression, _ = await suppression_list.add(
        world.api.transactions, actor=Actor(ORG_ID, MARK), email=f"{MARK}@example.net", note=MARK
    )
    imported = await import_file(
        world.api.transactions, world.api.job_queue, actor=Actor(ORG_ID, MARK), file=f"email\n{MARK}\n".encode()
    )
    async with world.api.transactions(ORG_ID) as tx:
        actor = Actor(ORG_ID, MARK)
        resend = await bulk_resends.request(tx, actor, campaign_id, statuses=(SendStatus.FAILED,), reasons=())
    ids = {
        "id": campaign_id,
        "sendId": send["id"],
        "resendId": resend.id,
        "suppressionId": suppression.id,
        "importId": imported.id,
    }
    return {name: str(one) for name, one in ids.items()}


async def test_another_organisations_campaign_is_not_there(world: World, api: httpx.AsyncClient) -> None:
    ids = await other_organisations_ids(world)
    unknown_ids = dict.fromkeys(ids, "0197c1b2-a3d4-7000-8000-000000000000")
    owner, stranger = token(ORG_ID, "ADMIN"), token(OTHER_ORG_ID, "ADMIN")
    before = await ask(api, "GET", ONE, owner, ids)
    assert MARK in before.text
    for method, path in OF_SOMETHING:
        response = await ask(api, method, path, stranger, ids)
        assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found"), (method, path)
        assert MARK not in response.text
        assert body_of(response) == body_of(await ask(api, method, path, stranger, unknown_ids)), (method, path)
    assert (await ask(api, "GET", ONE, owner, ids)).json() == before.json()


async def test_an_organisation_sees_nothing_of_another(world: World, api: httpx.AsyncClient) -> None:
    stranger = token(OTHER_ORG_ID, "ADMIN")
    reading = [path for method, path in OF_AN_ORGANISATION if method == "GET"]
    before = [await ask(api, "GET", path, stranger, {}) for path in reading]
    assert {response.status_code for response in before} == {200}
    await other_organisations_ids(world)
    after = [await ask(api, "GET", path, stranger, {}) for path in reading]
    assert [body_of(response) for response in after] == [body_of(response) for response in before]


async def test_every_route_needs_a_token(world: World, api: httpx.AsyncClient) -> None:
    ids = await other_organisations_ids(world)
    for method, path in ROUTES:
        for access_token in (None, "nonsense", token(ORG_ID, "ADMIN")[:-2]):
            response = await ask(api, method, path, access_token, ids)
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"] == "Bearer"
            assert MARK not in response.text


async def test_a_reader_changes_nothing(world: World, api: httpx.AsyncClient) -> None:
    ids = await other_organisations_ids(world)
    for method, path in ROUTES:
        if method not in {"GET", "HEAD"} and (method, path) not in ONLY_READ:
            response = await ask(api, method, path, token(ORG_ID, "VIEWER"), ids)
            assert (response.status_code, response.json()["type"]) == (403, "/problems/role"), (method, path)
