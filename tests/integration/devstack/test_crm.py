"""The development CRM over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import Request, Response

from marketing_service.devstack.contacts import FIXED_CONTACTS, ContactBook
from marketing_service.devstack.crm import create_crm_app

ACME = "/api/crm/orgs/acme"
ADA = FIXED_CONTACTS[0].id


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://crm.localhost",
        headers={"Authorization": "Bearer secret"},
    )


@pytest.fixture
async def crm() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_crm_app(ContactBook.of_size(100), "secret")) as client:
        yield client


async def test_contacts_are_filtered_and_paged(crm: httpx.AsyncClient) -> None:
    query: dict[str, Any] = {
        "hasEmail": "true", "marketingOptOut": "false", "status": ["CUSTOMER", "LEAD"], "limit": 7
    }  # fmt: skip
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = (await crm.get(f"{ACME}/contacts", params=query | ({"cursor": cursor} if cursor else {}))).json()
        found += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    del query["limit"]
    assert (await crm.get(f"{ACME}/contacts/count", params=query)).json() == {"count": len(found)}
    assert len({contact["id"] for contact in found}) == len(found)
    assert all(contact["email"] and not contact["marketingOptOut"] for contact in found)
    assert {contact["status"] for contact in found} == {"CUSTOMER", "LEAD"}
    assert found[0] == {
        "id": ADA,
        "email": "ada.lovelace@example.com",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "companyName": "Analytical Engines Ltd",
        "status": "CUSTOMER",
        "marketingOptOut": False,
    }


async def test_contacts_are_found_by_address(crm: httpx.AsyncClient) -> None:
    response = await crm.get(f"{ACME}/contacts", params={"email": "Family@example.com"})
    assert len(response.json()["items"]) == 2


async def test_an_opt_out_is_set_and_cleared_again(crm: httpx.AsyncClient) -> None:
    for opted_out in (True, False):
        response = await crm.patch(f"{ACME}/contacts/{ADA}", json={"marketingOptOut": opted_out})
        assert response.json()["marketingOptOut"] is opted_out
        assert (await crm.get(f"{ACME}/contacts/{ADA}")).json() == response.json()


async def test_the_statuses_have_labels(crm: httpx.AsyncClient) -> None:
    items = (await crm.get(f"{ACME}/contact-statuses")).json()["items"]
    assert {"value": "LEAD", "label": "Lead"} in items
    assert [item["value"] for item in items] == ["LEAD", "PROSPECT", "CUSTOMER", "CHURNED"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/crm/orgs/nobody/contacts", 404),
        ("GET", f"{ACME}/contacts/nobody", 404),
        ("PATCH", f"{ACME}/contacts/nobody", 404),
        ("GET", f"{ACME}/contacts?limit=0", 422),
        ("GET", f"{ACME}/contacts?limit=1001", 422),
        ("GET", f"{ACME}/contacts?cursor=made-up", 422),
        ("GET", f"{ACME}/contacts?hasEmail=perhaps", 422),
        ("GET", f"{ACME}/contacts?email=", 422),
        ("GET", f"{ACME}/contacts?status=", 422),
        ("DELETE", f"{ACME}/contacts", 405),
    ],
)
async def test_a_bad_request_is_refused_with_a_problem(
    crm: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    json = {"marketingOptOut": True} if method == "PATCH" else None
    response = await crm.request(method, path, json=json)
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert problem["title"]
    assert problem["detail"]


@pytest.mark.parametrize("body", [{}, {"marketingOptOut": "yes"}, {"marketingOptOut": True, "email": "x"}])
async def test_only_the_opt_out_can_be_changed(crm: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await crm.patch(f"{ACME}/contacts/{ADA}", json=body)).status_code == 422


@pytest.mark.parametrize("header", ["", "Bearer wrong", "secret", "Bearer sécret"])
async def test_every_request_needs_the_token(crm: httpx.AsyncClient, header: str) -> None:
    response = await crm.get(f"{ACME}/contacts", headers=[(b"Authorization", header.encode())])
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_fault_replaces_the_response() -> None:
    async def fail_writes(request: Request) -> Response | None:
        return Response(status_code=503, headers={"Retry-After": "7"}) if request.method == "PATCH" else None

    async with client_of(create_crm_app(ContactBook.of_size(10), "secret", faults=fail_writes)) as crm:
        assert (await crm.patch(f"{ACME}/contacts/{ADA}", json={})).headers["retry-after"] == "7"
        assert (await crm.get(f"{ACME}/contacts/{ADA}")).status_code == 200


async def test_the_page_shows_the_fixed_contacts_escaped_and_changes_an_opt_out(crm: httpx.AsyncClient) -> None:
    page = await crm.get("/")
    assert "&lt;b&gt;Brenda&lt;/b&gt;" in page.text
    assert "<b>Brenda" not in page.text
    for opted_out in (True, False):
        form = {"marketingOptOut": str(opted_out).lower()}
        response = await crm.post(f"/orgs/acme/contacts/{ADA}", data=form)
        assert response.status_code == 303
        contact = (await crm.get(f"{ACME}/contacts/{ADA}")).json()
        assert contact["marketingOptOut"] is opted_out
    assert (await crm.post("/orgs/acme/contacts/nobody")).status_code == 404
    assert (await crm.post("/orgs/nobody/contacts/nobody")).status_code == 404
