"""The suppression list over HTTP: single addresses, and the list as a file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.addresses import mailbox_key
from tests.integration.api.support import assert_problem, path
from tests.integration.api.test_tenancy import own_filter_removed
from tests.support.ledger import assert_adds_up, contact, launched, send_rows
from tests.support.steps import deliver_all

if TYPE_CHECKING:
    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

PATH = "/api/marketing/suppressions"


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(PATH, params=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def emails(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return [item["email"] for item in await listed(client, **query)]


async def import_csv(client: httpx.AsyncClient, file: str | bytes) -> httpx.Response:
    body = file.encode() if isinstance(file, str) else file
    return await client.post(PATH + ".csv", content=body, headers={"Content-Type": "text/csv; charset=utf-8"})


async def test_an_address_is_added_once_by_its_mailbox_key(admin: httpx.AsyncClient) -> None:
    added = await admin.post(PATH, json={"email": " Ann@Example.com ", "note": "by phone"})
    assert added.status_code == 201
    first = added.json()
    assert {key: first[key] for key in ("email", "reason", "origin", "campaignId", "note", "createdBy")} == {
        "email": "ann@example.com",
        "reason": "MANUAL",
        "origin": "API",
        "campaignId": None,
        "note": "by phone",
        "createdBy": "ada",
    }
    again = await admin.post(PATH, json={"email": "ann@example.com", "note": "another"})
    assert (again.status_code, again.json()) == (200, first)
    assert await listed(admin) == [first]


async def test_all_spellings_of_a_mailbox_are_one_entry(admin: httpx.AsyncClient, owner: Database) -> None:
    people = [
        contact(number, email=email, address=mailbox_key(email))
        for number, email in enumerate(("info@bücher.example", "INFO@xn--bcher-kva.example", "info@bürger.example"))
    ]
    campaign_id = await launched(owner, people)
    first = (await admin.post(PATH, json={"email": "info@bücher.example"})).json()
    rows = [(row["status"], row["reason"]) for row in await send_rows(owner, campaign_id)]
    assert rows == [("SKIPPED", "SUPPRESSED"), ("SKIPPED", "DUPLICATE"), ("QUEUED", None)]
    again = await admin.post(PATH, json={"email": "Info@XN--BCHER-KVA.example"})
    assert (again.status_code, again.json()) == (200, first)
    imported = await import_csv(admin, "email\ninfo@bu\u0308cher.example\ninfo@böcher.example\ninfo@b.example\n")
    assert (imported.json()["added"], imported.json()["known"]) == (2, 1)
    for q in ("info@bücher.example", "INFO@BÜCHER", "info@bü", "info@xn--bcher-kva.example"):
        assert await emails(admin, q=q) == ["info@xn--bcher-kva.example"], q
    assert len(await emails(admin, q="info@b")) == 3
    assert await emails(admin, q="info@büx") == []


async def test_waiting_sends_to_the_address_are_skipped(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 3)
    await admin.post(PATH, json={"email": "person1@example.com"})
    rows = [(row["status"], row["reason"]) for row in await send_rows(owner, campaign_id)]
    assert rows == [("QUEUED", None), ("SKIPPED", "SUPPRESSED"), ("QUEUED", None)]
    await assert_adds_up(owner, campaign_id)
    await import_csv(admin, "email\nperson0@example.com\nperson2@example.com\n")
    assert (await assert_adds_up(owner, campaign_id))["skipped"] == 3
    assert (await admin.get(path(campaign_id))).json()["status"] == "SENT"


async def test_a_removed_address_is_mailed_again(admin: httpx.AsyncClient, owner: Database) -> None:
    suppression = (await admin.post(PATH, json={"email": "person1@example.com"})).json()
    during = await launched(owner, 2)
    assert [row["status"] for row in await send_rows(owner, during)] == ["QUEUED", "SKIPPED"]
    assert (await admin.delete(f"{PATH}/{suppression['id']}")).status_code == 204
    assert_problem(await admin.delete(f"{PATH}/{suppression['id']}"), 404, "not-found")
    after = await launched(owner, 2)
    assert [row["status"] for row in await send_rows(owner, after)] == ["QUEUED", "QUEUED"]


async def test_a_suppressed_address_is_not_resent_to(admin: httpx.AsyncClient, owner: Database) -> None:
    sampled = (await admin.get("/api/marketing/audience")).json()["sample"][0]
    people = [contact(1, contact_id=sampled["id"], email=sampled["email"], address=sampled["email"].lower())]
    campaign_id = await launched(owner, people, org_id="acme")
    await deliver_all(owner, campaign_id)
    async with owner.transaction() as tx:
        await tx.connection.exec_driver_sql("UPDATE marketing_sends SET status = 'UNCONFIRMED'")
        await tx.connection.exec_driver_sql("UPDATE marketing_campaigns SET delivered = 0, unconfirmed = 1")
    await admin.post(PATH, json={"email": sampled["email"]})
    assert sampled not in (await admin.get("/api/marketing/audience")).json()["sample"]
    send = (await send_rows(owner, campaign_id))[0]
    problem = assert_problem(await admin.post(path(campaign_id, f"/sends/{send['id']}/resend")), 409, "wrong-state")
    assert "suppression list" in problem["detail"]


async def test_the_list_is_paged_newest_first_and_filtered(admin: httpx.AsyncClient, owner: Database) -> None:
    for number in range(5):
        await admin.post(PATH, json={"email": f"p{number}@example.com"})
    async with owner.transaction() as tx:
        await tx.connection.exec_driver_sql(
            "UPDATE marketing_suppressions SET reason = 'HARD_BOUNCE' WHERE address = 'p3@example.com'"
        )
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await admin.get(PATH, params=query)).json()
        found += [item["email"] for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert found == [f"p{number}@example.com" for number in (4, 3, 2, 1, 0)]
    assert await emails(admin, q="P3@") == ["p3@example.com"]
    assert await emails(admin, q="_%") == []
    assert await emails(admin, reason="HARD_BOUNCE") == ["p3@example.com"]
    assert len(await emails(admin, reason=["HARD_BOUNCE", "MANUAL"])) == 5
    assert_problem(await admin.get(PATH, params={"cursor": "x"}), 422, "invalid-input", "cursor")
    assert_problem(await admin.get(PATH, params={"reason": "X"}), 422, "invalid-input", "reason[0]")
    assert_problem(await admin.get(PATH, params={"status": "X"}), 422, "invalid-input", "status")


async def test_each_organisation_has_its_own_list(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
) -> None:
    suppression = (await admin.post(PATH, json={"email": "ann@example.com"})).json()
    assert await listed(stranger) == []
    assert_problem(await stranger.delete(f"{PATH}/{suppression['id']}"), 404, "not-found")
    assert (await stranger.post(PATH, json={"email": "ann@example.com"})).status_code == 201
    mine = await launched(owner, [contact(1, email="bob@example.com", address="bob@example.com")])
    await stranger.post(PATH, json={"email": "bob@example.com"})
    assert [row["status"] for row in await send_rows(owner, mine)] == ["QUEUED"]


async def test_the_database_keeps_the_lists_apart_by_itself(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient, resources: Resources
) -> None:
    suppression = (await admin.post(PATH, json={"email": "ann@example.com"})).json()
    database = resources.transactions.__self__  # type: ignore[attr-defined]  # a bound method of Database
    with own_filter_removed(database) as changed:
        assert await listed(stranger) == []
        assert_problem(await stranger.delete(f"{PATH}/{suppression['id']}"), 404, "not-found")
    assert len(changed) >= 2
    assert await listed(admin) == [suppression]


async def test_writing_needs_a_writing_role(viewer: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    suppression = (await admin.post(PATH, json={"email": "ann@example.com"})).json()
    assert len(await listed(viewer)) == 1
    for response in (
        await viewer.post(PATH, json={"email": "bob@example.com"}),
        await viewer.delete(f"{PATH}/{suppression['id']}"),
        await import_csv(viewer, "email\nbob@example.com\n"),
    ):
        assert_problem(response, 403, "role")


@pytest.mark.parametrize("email", ["", "ann", "ann@localhost", "a b@example.com", "ann@example.com, bob@example.com"])
async def test_an_invalid_address_is_refused(admin: httpx.AsyncClient, email: str) -> None:
    assert_problem(await admin.post(PATH, json={"email": email}), 422, "invalid-input", "email")


async def test_a_note_is_one_line(admin: httpx.AsyncClient) -> None:
    for note in ("", "a\nb", "x" * 501):
        body = {"email": "ann@example.com", "note": note}
        assert_problem(await admin.post(PATH, json=body), 422, "invalid-input", "note")


async def test_an_exported_list_can_be_imported(admin: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    """In the file, a cell that looks like a formula starts with an apostrophe. The import removes it."""
    wanted = ["=cmd@example.com", "+49@example.com", "-x-@example.com", "ann@example.com"]
    for email in wanted:
        await admin.post(PATH, json={"email": email, "note": "=1+1"})
    download = await admin.get(PATH + ".csv")
    assert download.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(download.text)))
    assert [row["email"] for row in rows] == [
        "ann@example.com",
        "'-x-@example.com",
        "'+49@example.com",
        "'=cmd@example.com",
    ]
    assert {row["note"] for row in rows} == {"'=1+1"}
    assert (await admin.get(PATH + ".csv", params={"q": "ann"})).text.count("\n") == 2
    imported = (await import_csv(stranger, download.text)).json()
    assert (imported["added"], imported["known"], imported["rejected"]) == (4, 0, [])
    assert {(item["email"], item["note"]) for item in await listed(stranger)} == {(email, "=1+1") for email in wanted}
