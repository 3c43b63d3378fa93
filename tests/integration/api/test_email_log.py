"""The email log as JSON and CSV, and the resend."""

import csv
import gzip
import io
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from marketing_service.addresses import mailbox_key
from marketing_service.api.csv_export import HEADER
from marketing_service.campaigns import email_log
from marketing_service.db import Database
from tests.integration.api.support import BROKEN, Crm, assert_problem, path, saved
from tests.support.ledger import contact, launched

HEADER_LINE = ",".join(f'"{name}"' for name in HEADER) + "\r\n"
FIELDS = [
    "id",
    "contactId",
    "email",
    "status",
    "reason",
    "attempts",
    "error",
    "queuedAt",
    "sentAt",
    "openedAt",
    "lastOpenedAt",
    "openCount",
    "unsubscribedAt",
]


async def execute(owner: Database, statement: str, **values: Any) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text(statement), values)


async def entries(client: httpx.AsyncClient, campaign_id: UUID, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(path(campaign_id, f"/sends?{query}"))).json()["items"]
    return found


async def test_an_entry_has_every_field(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    (entry,) = await entries(admin, campaign_id)
    assert list(entry) == FIELDS
    assert entry["contactId"] == "c000000"
    assert entry["status"] == "QUEUED"
    assert entry["error"] is None
    assert (entry["attempts"], entry["openCount"]) == (0, 0)


async def test_an_error_is_shown(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    await execute(owner, "UPDATE marketing_sends SET smtp_code = 550, enhanced_code = '5.1.1', error_message = 'No'")
    (entry,) = await entries(admin, campaign_id)
    assert entry["error"] == {"smtpCode": 550, "enhancedCode": "5.1.1", "message": "No"}


async def test_pages_are_by_address_each_entry_once(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 7)
    found, query = [], "limit=3"
    while True:
        page = (await admin.get(path(campaign_id, f"/sends?{query}"))).json()
        found += [entry["email"] for entry in page["items"]]
        if page["nextCursor"] is None:
            break
        query = f"limit=3&cursor={page['nextCursor']}"
    assert found == [f"person{n}@example.com" for n in range(7)]


async def test_status_and_prefix_filter(admin: httpx.AsyncClient, owner: Database) -> None:
    addresses = ["Ada@x.example", "adam@x.example", "a_b@x.example", "axb@x.example", "élan@x.example"]
    people = [contact(n, address=address.lower(), email=address) for n, address in enumerate(addresses)]
    campaign_id = await launched(owner, people)

    async def emails(query: str) -> list[str]:
        return [entry["email"] for entry in await entries(admin, campaign_id, query)]

    assert await emails("q=ADA") == ["Ada@x.example", "adam@x.example"]
    assert await emails("q=a_") == ["a_b@x.example"]
    assert await emails("q=%C3%89l") == ["élan@x.example"]
    assert await emails("q=%F4%8F%BF%BF") == []
    assert await emails("q=%ED%9F%BF") == []
    assert await emails("q=%25") == []
    assert await emails("status=DELIVERED") == []
    assert len(await emails("status=DELIVERED&status=QUEUED")) == 5
    assert await emails("status=QUEUED&q=adam") == ["adam@x.example"]


async def test_the_start_of_any_spelling_finds_a_mailbox(admin: httpx.AsyncClient, owner: Database) -> None:
    written = ["info@bücher.example", "Info@XN--bcher-kva.example", "info@bxcher.example", "info@bürger.example"]
    people = [contact(n, address=mailbox_key(email), email=email) for n, email in enumerate(written)]
    campaign_id = await launched(owner, people)
    books, *others = [written[:2], written[2:3], written[3:]]

    async def emails(q: str, **query: str) -> list[str]:
        response = await admin.get(path(campaign_id, "/sends"), params={"q": q} | query)
        return sorted(entry["email"] for entry in response.json()["items"])

    for q in ("info@bücher.example", "INFO@BU\u0308CHER.ex", "info@büc", "info@xn--bcher-kva.example", "info@xn--bch"):
        assert await emails(q) == sorted(books), q
    assert await emails("info@b") == sorted(written)
    assert await emails("info@bü") == sorted([*books, *others[1]])
    assert await emails("info@bx") == others[0]
    assert await emails("info@ü") == []
    assert await emails("info@bü", status="DELIVERED") == []
    # Page by page, in the order of the keys.
    found, cursor = [], None
    while True:
        query = {"q": "info@b", "limit": "1"} | ({"cursor": cursor} if cursor else {})
        page = (await admin.get(path(campaign_id, "/sends"), params=query)).json()
        found += [entry["email"] for entry in page["items"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert sorted(found) == sorted(written)
    assert found == sorted(written, key=lambda email: (mailbox_key(email), written.index(email)))


class TestCsv:
    async def test_it_contains_all_pages_of_the_log(
        self, admin: httpx.AsyncClient, owner: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(email_log, "EXPORT_PAGE", 3)
        campaign_id = await launched(owner, 10)
        response = await admin.get(path(campaign_id, "/sends.csv"))
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert response.headers["content-disposition"] == f'attachment; filename="sends-{campaign_id}.csv"'
        assert response.text.startswith(HEADER_LINE)
        rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
        logged = await entries(admin, campaign_id)
        assert [row["id"] for row in rows] == [entry["id"] for entry in logged]
        assert [row["queuedAt"] for row in rows] == [entry["queuedAt"] for entry in logged]

    async def test_it_takes_the_same_filters(self, admin: httpx.AsyncClient, owner: Database) -> None:
        campaign_id = await launched(owner, 3)
        response = await admin.get(path(campaign_id, "/sends.csv?q=person1&status=QUEUED"))
        rows = csv.DictReader(io.StringIO(response.text, newline=""))
        assert [row["email"] for row in rows] == ["person1@example.com"]

    async def test_a_caller_who_accepts_gzip_gets_the_same_file_compressed(
        self, admin: httpx.AsyncClient, owner: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(email_log, "EXPORT_PAGE", 100)
        address = path(await launched(owner, 250), "/sends.csv")
        plain = await admin.get(address, headers={"Accept-Encoding": "identity"})
        async with admin.stream("GET", address, headers={"Accept-Encoding": "gzip"}) as response:
            octets = b"".join([piece async for piece in response.aiter_raw()])
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["content-type"] == plain.headers["content-type"]
        assert gzip.decompress(octets) == plain.content
        assert len(octets) < len(plain.content) / 4
        assert "content-encoding" not in plain.headers
        assert {response.headers["vary"], plain.headers["vary"]} == {"Accept-Encoding"}

    async def test_it_goes_on_after_any_of_its_rows(
        self, admin: httpx.AsyncClient, owner: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(email_log, "EXPORT_PAGE", 3)
        # Two contacts have the same address, so the place in the file is the address and the id.
        people = [contact(number, contact_id=f"c{number}", email="ann@example.com") for number in range(4)]
        address = path(await launched(owner, [*people, *(contact(n) for n in range(10, 14))]), "/sends.csv")
        lines = (await admin.get(address)).text.splitlines(keepends=True)
        for number, line in enumerate(lines[1:], 1):
            rest = await admin.get(address, params={"after": line[1:37]})
            assert rest.text == "".join(lines[number + 1 :])

    async def test_the_rest_has_the_same_filters(self, admin: httpx.AsyncClient, owner: Database) -> None:
        address = path(await launched(owner, 12), "/sends.csv?q=person1")
        lines = (await admin.get(address)).text.splitlines(keepends=True)
        assert len(lines) == 4
        assert (await admin.get(f"{address}&after={lines[1][1:37]}")).text == "".join(lines[2:])

    async def test_it_goes_on_only_after_a_send_of_this_campaign(
        self, admin: httpx.AsyncClient, stranger: httpx.AsyncClient, owner: Database
    ) -> None:
        campaign_id, other_id = await launched(owner, 1), await launched(owner, 1)
        (of_other,) = await entries(admin, other_id)
        for after in (of_other["id"], str(UUID(int=1))):
            response = await admin.get(path(campaign_id, "/sends.csv"), params={"after": after})
            problem = assert_problem(response, 422, "invalid-input", "after")
            assert problem["errors"][0]["code"] == "unknown-send"
        response = await admin.get(path(campaign_id, "/sends.csv?after=1"))
        assert_problem(response, 422, "invalid-input", "after")
        response = await stranger.get(path(other_id, "/sends.csv"), params={"after": of_other["id"]})
        assert_problem(response, 404, "not-found")

    async def test_it_has_the_names_and_the_click(self, admin: httpx.AsyncClient, owner: Database) -> None:
        campaign_id = await launched(owner, 1)
        await execute(
            owner,
            "UPDATE marketing_sends SET first_name = 'Ann', last_name = '=1+1', company_name = 'B',"
            " clicked_at = '2026-05-04T09:30:00Z'",
        )
        (row,) = csv.DictReader(io.StringIO((await admin.get(path(campaign_id, "/sends.csv"))).text, newline=""))
        names = (row["firstName"], row["lastName"], row["companyName"], row["clickedAt"])
        assert names == ("Ann", "'=1+1", "B", "2026-05-04T09:30:00Z")

    async def test_without_sends_there_is_only_the_header(self, admin: httpx.AsyncClient) -> None:
        response = await admin.get(path(await saved(admin), "/sends.csv"))
        assert response.text == HEADER_LINE


class TestResend:
    async def test_a_failed_send_is_requeued(self, admin: httpx.AsyncClient, owner: Database, crm: Crm) -> None:
        person = crm.contacts.fixed_contacts("acme")[0]
        campaign_id = await launched(owner, [contact(1, contact_id=person.id)])
        await execute(owner, "UPDATE marketing_sends SET status = 'FAILED', batch = NULL, reason = 'REJECTED'")
        await execute(
            owner,
            "UPDATE marketing_campaigns SET queued = 0, failed = 1, status = 'SENT', sent_at = now()",
        )
        (entry,) = await entries(admin, campaign_id)
        response = await admin.post(path(campaign_id, f"/sends/{entry['id']}/resend"))
        assert response.status_code == 202, response.text
        assert response.json()["status"] == "QUEUED"
        assert response.json()["id"] == entry["id"]
        assert (await admin.get(path(campaign_id))).json()["status"] == "SENDING"
        again = await admin.post(path(campaign_id, f"/sends/{entry['id']}/resend"))
        assert_problem(again, 409, "wrong-state")

    async def test_with_the_crm_down_a_resend_is_unavailable(
        self, admin: httpx.AsyncClient, owner: Database, crm: Crm
    ) -> None:
        campaign_id = await launched(owner, 1)
        await execute(owner, "UPDATE marketing_sends SET status = 'FAILED', batch = NULL")
        await execute(owner, "UPDATE marketing_campaigns SET queued = 0, failed = 1, status = 'SENT'")
        (entry,) = await entries(admin, campaign_id)
        crm.status = BROKEN
        assert_problem(await admin.post(path(campaign_id, f"/sends/{entry['id']}/resend")), 503, "unavailable")

    async def test_no_such_send(self, admin: httpx.AsyncClient, owner: Database) -> None:
        campaign_id = await launched(owner, 1)
        other = await launched(owner, 1)
        (entry,) = await entries(admin, other)
        assert_problem(await admin.post(path(campaign_id, f"/sends/{entry['id']}/resend")), 404, "not-found")
        assert_problem(await admin.post(path(campaign_id, f"/sends/{campaign_id}/resend")), 404, "not-found")
