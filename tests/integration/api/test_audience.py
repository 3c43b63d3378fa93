"""The number of contacts that a launch would mail now, and a sample of them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.ports import Audience, AudienceType
from tests.integration.api.support import BROKEN, Crm, assert_problem, client_of, token

if TYPE_CHECKING:
    import httpx
    import pytest

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database
    from marketing_service.ports import Contact

AUDIENCE = "/api/marketing/audience"
EVERYBODY = Audience()
CUSTOMERS = Audience(AudienceType.BY_STATUS, ("CUSTOMER",))
PENDING = text(
    "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at, confirmed_at)"
    " VALUES ('acme', :address, :contacts, CASE WHEN :pending THEN now() END, CASE WHEN NOT :pending THEN now() END)"
)


async def opted_out_here(owner: Database, *contacts: Contact, pending: bool = True) -> None:
    async with owner.transaction() as tx:
        for contact in contacts:
            values = {"address": (contact.email or "").lower(), "contacts": [contact.id], "pending": pending}
            await tx.connection.execute(PENDING, values)


async def people(resources: Resources, audience: Audience = EVERYBODY) -> list[Contact]:
    return [contact async for page in resources.audience.pages("acme", audience) for contact in page.contacts]


async def ask(client: httpx.AsyncClient, query: str = "") -> dict[str, Any]:
    response = await client.get(AUDIENCE + query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_it_is_the_crms_count_with_a_sample_of_ten(viewer: httpx.AsyncClient, resources: Resources) -> None:
    everybody = await people(resources)
    found = await ask(viewer)
    assert found["count"] == len(everybody)
    assert len(found["sample"]) == 10
    by_id = {contact.id: contact for contact in everybody}
    for shown in found["sample"]:
        contact = by_id[shown["id"]]
        assert shown == {
            "id": contact.id,
            "firstName": contact.first_name,
            "lastName": contact.last_name,
            "email": contact.email,
            "status": contact.status,
        }


async def test_by_status_counts_any_of_the_statuses(viewer: httpx.AsyncClient, resources: Resources) -> None:
    audience = Audience(AudienceType.BY_STATUS, ("LEAD", "CUSTOMER"))
    found = await ask(viewer, "?type=BY_STATUS&statuses=LEAD&statuses=CUSTOMER&statuses=LEAD")
    assert found["count"] == len(await people(resources, audience))
    assert {shown["status"] for shown in found["sample"]} <= set(audience.statuses)


async def test_opt_outs_that_the_crm_does_not_have_yet_are_subtracted(
    viewer: httpx.AsyncClient, resources: Resources, owner: Database
) -> None:
    everybody = await people(resources)
    leaving = [contact for contact in everybody if contact.status == "CUSTOMER"][:3]
    customers = len(await people(resources, CUSTOMERS))
    await opted_out_here(owner, *leaving)
    found = await ask(viewer)
    assert found["count"] == len(everybody) - 3
    assert {shown["id"] for shown in found["sample"]}.isdisjoint(contact.id for contact in leaving)
    assert (await ask(viewer, "?type=BY_STATUS&statuses=CUSTOMER"))["count"] == customers - 3
    leads = len(await people(resources, Audience(AudienceType.BY_STATUS, ("LEAD",))))
    assert (await ask(viewer, "?type=BY_STATUS&statuses=LEAD"))["count"] == leads


async def test_opt_outs_that_the_crm_has_are_not_subtracted_twice(
    viewer: httpx.AsyncClient, resources: Resources, owner: Database
) -> None:
    """One opt-out is in the CRM but not confirmed yet. One was confirmed, and then removed in the CRM."""
    everybody = await people(resources)
    await opted_out_here(owner, everybody[0])
    await opted_out_here(owner, everybody[1], pending=False)
    assert await resources.audience.opt_out("acme", everybody[0].id)
    assert (await ask(viewer))["count"] == len(everybody) - 1


async def test_with_many_opt_outs_a_sample_of_them_is_looked_up(
    viewer: httpx.AsyncClient, resources: Resources, owner: Database, crm: Crm
) -> None:
    everybody = await people(resources)
    gone = [dataclasses.replace(everybody[0], id=f"gone-{n}", email=f"gone{n}@example.com") for n in range(40)]
    await opted_out_here(owner, *gone)
    assert (await ask(viewer))["count"] == len(everybody)


async def test_another_organisations_opt_outs_do_not_count(
    stranger: httpx.AsyncClient, resources: Resources, owner: Database
) -> None:
    """The contacts of two organisations may have the same ids."""
    before = await ask(stranger)
    await opted_out_here(owner, *(await people(resources))[:3])
    assert await ask(stranger) == before


async def test_an_invalid_query_is_refused(viewer: httpx.AsyncClient) -> None:
    for query, field in (
        ("?type=SOME", "type"),
        ("?type=BY_STATUS", "statuses"),
        ("?statuses=LEAD", "statuses"),
        ("?type=BY_STATUS&statuses=LEAD&statuses=NONE", "statuses[1]"),
        ("?type=BY_STATUS&statuses=%00", "statuses[0]"),
        ("?type=BY_STATUS&" + "&".join(f"statuses=S{n}" for n in range(51)), "statuses"),
        ("?limit=1", "limit"),
    ):
        assert_problem(await viewer.get(AUDIENCE + query), 422, "invalid-input", field)


async def test_with_the_crm_down_it_is_unavailable(viewer: httpx.AsyncClient, crm: Crm) -> None:
    crm.status = BROKEN
    for query in ("", "?type=BY_STATUS&statuses=LEAD"):
        response = await viewer.get(AUDIENCE + query)
        assert_problem(response, 503, "unavailable")
        assert response.headers["retry-after"]


async def test_a_crm_that_hangs_is_unavailable_after_the_timeout(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging:
        async def count(self, *_: object, **__: object) -> int:
            await asyncio.sleep(60)
            return 0

        sample = statuses = count

    monkeypatch.setattr("marketing_service.api.routes.audience.CRM_TIMEOUT", 0.1)
    app = create_app(dataclasses.replace(resources, audience=Hanging()))  # type: ignore[arg-type]  # only these methods are called
    async with client_of(app, token()) as client:
        assert_problem(await client.get(AUDIENCE), 503, "unavailable")


async def test_it_needs_a_token(anonymous: httpx.AsyncClient) -> None:
    assert_problem(await anonymous.get(AUDIENCE), 401, "unauthenticated")
