"""Imports into the suppression list over HTTP: what is accepted, refused and reported, and who sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.api.import_slots import MAX_FILES, MAX_FILES_OF_ORGANISATION
from marketing_service.campaigns.suppression_file import MAX_FILE, STEP
from marketing_service.campaigns.suppression_imports import MAX_UNFINISHED
from tests.integration.api.support import BASE_URL, assert_problem, client_of, token
from tests.integration.api.test_suppressions import PATH, import_csv, listed
from tests.integration.api.test_tenancy import own_filter_removed
from tests.support.ledger import assert_adds_up, launched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from starlette.types import ASGIApp

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database

IMPORTS = PATH + "/imports"
UNKNOWN_ID = "01970000-0000-7000-8000-000000000001"
LARGE = "email\n" + "".join(f"person{number}@example.com\n" for number in range(2 * STEP + 10))
"""It has three steps, so workers add its addresses. No worker runs in these tests."""


async def read(client: httpx.AsyncClient, import_id: str) -> dict[str, Any]:
    response = await client.get(f"{IMPORTS}/{import_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_small_file_is_finished_when_the_response_arrives(admin: httpx.AsyncClient, owner: Database) -> None:
    campaign_id = await launched(owner, 3)
    await admin.post(PATH, json={"email": "known@example.com"})
    file = (
        "\ufeffName,E-Mail,Note\r\n"
        'Ann,Person0@Example.com,"she said ""stop"", twice"\r\n'
        "\r\n"
        "Ann again,person0@example.com,\r\n"
        "Known,known@example.com,x\r\n"
        "Nobody,not an address,\r\n"
        "Bob,person2@example\r\n"
        "Bob,person2@example.com\r\n"
    )
    response = await import_csv(admin, file)
    assert response.status_code == 200
    body = response.json()
    assert response.headers["location"] == f"{IMPORTS}/{body['id']}"
    assert body == {
        "id": body["id"],
        "createdBy": "ada",
        "createdAt": body["createdAt"],
        "finished": True,
        "finishedAt": body["createdAt"],
        "rows": 6,
        "done": 6,
        "added": 2,
        "known": 1,
        "repeated": 1,
        "rejectedRows": 2,
        "rejected": [
            {"line": 6, "value": "not an address", "code": "no-address", "message": "The row has no email address."},
            {
                "line": 7,
                "value": "person2@example",
                "code": "invalid-address",
                "message": "This is not a valid email address, or not a list of valid email addresses.",
            },
        ],
    }
    assert await read(admin, body["id"]) == body
    notes = {item["email"]: (item["note"], item["origin"], item["createdBy"]) for item in await listed(admin)}
    assert notes == {
        "person0@example.com": ('she said "stop", twice', "CSV", "ada"),
        "person2@example.com": (None, "CSV", "ada"),
        "known@example.com": (None, "API", "ada"),
    }
    assert (await assert_adds_up(owner, campaign_id))["skipped"] == 2
    again = (await import_csv(admin, file)).json()
    assert (again["added"], again["known"], again["repeated"]) == (0, 3, 1)
    assert again["id"] != body["id"]


async def test_a_large_file_is_accepted_and_waits_for_the_workers(admin: httpx.AsyncClient) -> None:
    response = await import_csv(admin, LARGE + "nobody\n")
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == f"{IMPORTS}/{body['id']}"
    progress = {name: body[name] for name in ("finished", "finishedAt", "rows", "done", "added", "known")}
    assert progress == {
        "finished": False, "finishedAt": None, "rows": 2 * STEP + 11, "done": 0, "added": 0, "known": 0,
    }  # fmt: skip
    assert [(row["line"], row["value"]) for row in body["rejected"]] == [(2 * STEP + 12, "nobody")]
    assert await read(admin, body["id"]) == body
    assert await listed(admin) == []


async def test_a_file_of_one_step_is_not_left_to_the_workers(admin: httpx.AsyncClient) -> None:
    rows = LARGE.splitlines()
    assert (await import_csv(admin, "\n".join(rows[: STEP + 1]))).status_code == 200
    assert (await import_csv(admin, "\n".join(rows[: STEP + 2]))).status_code == 202


async def test_a_file_without_rows_is_finished(admin: httpx.AsyncClient) -> None:
    body = (await import_csv(admin, "email,note\r\n")).json()
    assert (body["finished"], body["rows"], body["done"], body["added"]) == (True, 0, 0, 0)


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        (b"", "csv", "`email`"),
        (b"name;city\nAnn;Bonn\n", "csv", "`email`"),
        (b'email\nbob@example.com\n"ann@example.com\n', "csv", "line 3: it has a quote that is not closed"),
        (LARGE.encode() + b'"', "csv", f"line {2 * STEP + 12}: it has a quote that is not closed"),
        (b"PK\x03\x04", "csv", "Save the sheet as CSV"),
    ],
    ids=["empty", "no column email", "an open quote", "an open quote after three steps", "a workbook"],
)
async def test_a_file_that_is_no_list_changes_nothing(
    admin: httpx.AsyncClient, file: bytes, code: str, words: str
) -> None:
    problem = assert_problem(await import_csv(admin, file), 422, "invalid-input", "body")
    assert problem["errors"][0]["code"] == code
    assert words in problem["detail"]
    assert await listed(admin) == []
    assert (await admin.get(IMPORTS)).json() == {"items": [], "nextCursor": None}


async def test_a_file_needs_its_content_type_and_a_size_limit_applies(admin: httpx.AsyncClient) -> None:
    response = await admin.post(PATH + ".csv", json={"email": "ann@example.com"})
    assert_problem(response, 422, "invalid-input", "Content-Type")
    problem = assert_problem(await import_csv(admin, b"x" * (MAX_FILE + 1)), 413, "too-large")
    assert "30,000,000" in problem["detail"]

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_FILE // 1_000_000 + 1):
            yield b"x" * 1_000_000

    response = await admin.post(PATH + ".csv", content=chunks(), headers={"Content-Type": "text/csv"})
    assert_problem(response, 413, "too-large")


async def test_a_file_may_be_larger_than_other_bodies(admin: httpx.AsyncClient) -> None:
    note = "x" * 499
    rows = "".join(f"person{number % 10}@example.com,{note}\n" for number in range(8_000))
    body = (await import_csv(admin, "email,note\n" + rows)).json()
    assert (body["rows"], body["added"], body["repeated"]) == (8_000, 10, 7_990)
    assert_problem(await admin.post(PATH, content=b" " * 3_000_001), 413, "too-large")


async def test_a_repeated_request_with_a_key_starts_no_second_import(admin: httpx.AsyncClient) -> None:
    for file in (LARGE, "email\nann@example.com\n"):
        headers = {"Content-Type": "text/csv", "Idempotency-Key": f"key-{len(file)}"}
        first = await admin.post(PATH + ".csv", content=file, headers=headers)
        before = (await admin.get(IMPORTS)).json()
        again = await admin.post(PATH + ".csv", content=file, headers=headers)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["location"] == first.headers["location"]
        assert (await admin.get(IMPORTS)).json() == before


async def test_an_organisation_has_a_limited_number_of_unfinished_imports(
    admin: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    for _ in range(MAX_UNFINISHED):
        assert (await import_csv(admin, LARGE)).status_code == 202
    problem = assert_problem(await import_csv(admin, LARGE), 409, "wrong-state")
    assert "not finished" in problem["detail"]
    assert len((await admin.get(IMPORTS)).json()["items"]) == MAX_UNFINISHED
    # Neither a file that is finished at once nor another organisation is refused.
    assert (await import_csv(admin, "email\nann@example.com\n")).status_code == 200
    assert (await import_csv(stranger, LARGE)).status_code == 202


async def test_imports_are_listed_newest_first_without_their_rows(admin: httpx.AsyncClient) -> None:
    ids = [(await import_csv(admin, f"email\np{number}@example.com\nnobody\n")).json()["id"] for number in range(3)]
    page = (await admin.get(IMPORTS, params={"limit": 2})).json()
    assert [item["id"] for item in page["items"]] == [ids[2], ids[1]]
    whole = await read(admin, ids[2])
    del whole["rejected"]
    assert page["items"][0] == whole
    assert whole["rejectedRows"] == 1
    rest = (await admin.get(IMPORTS, params={"limit": 2, "cursor": page["nextCursor"]})).json()
    assert ([item["id"] for item in rest["items"]], rest["nextCursor"]) == ([ids[0]], None)
    assert_problem(await admin.get(IMPORTS, params={"cursor": "x"}), 422, "invalid-input", "cursor")
    assert_problem(await admin.get(f"{IMPORTS}/{UNKNOWN_ID}"), 404, "not-found")
    assert_problem(await admin.get(f"{IMPORTS}/x"), 422, "invalid-input", "importId")


async def test_imports_are_no_suppression(admin: httpx.AsyncClient) -> None:
    """The path of the imports also matches that of one suppression."""
    for response in (await admin.delete(IMPORTS), await admin.put(IMPORTS)):
        assert_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == "GET"


async def test_an_import_belongs_to_its_organisation(
    admin: httpx.AsyncClient, viewer: httpx.AsyncClient, stranger: httpx.AsyncClient, resources: Resources
) -> None:
    body = (await import_csv(admin, LARGE)).json()
    assert await read(viewer, body["id"]) == body
    assert_problem(await import_csv(viewer, LARGE), 403, "role")
    database = resources.transactions.__self__  # type: ignore[attr-defined]  # a bound method of Database

    async def assert_nothing_disclosed() -> None:
        assert_problem(await stranger.get(f"{IMPORTS}/{body['id']}"), 404, "not-found")
        assert (await stranger.get(IMPORTS)).json()["items"] == []

    await assert_nothing_disclosed()
    with own_filter_removed(database) as changed:
        await assert_nothing_disclosed()
    assert len(changed) == 2
    async with resources.transactions("globex") as tx:
        for table in ("marketing_suppression_imports", "marketing_suppression_import_steps"):
            assert (await tx.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0


@pytest.mark.parametrize("allowed", [MAX_FILES_OF_ORGANISATION, MAX_FILES])
async def test_a_process_receives_a_limited_number_of_files_at_a_time(app: ASGIApp, allowed: int) -> None:
    """Each file is in memory as a whole. The bodies of these requests have no end until the test gives them one."""
    same = allowed == MAX_FILES_OF_ORGANISATION
    end, started = asyncio.Event(), asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        yield b"email\n"
        started.release()
        await end.wait()

    async def post(number: int) -> httpx.Response:
        async with client_of(app, token(org_id="acme" if same else f"org-{number}")) as client:
            return await client.post(PATH + ".csv", content=body(), headers={"Content-Type": "text/csv"})

    receiving = [asyncio.create_task(post(number)) for number in range(allowed)]
    for _ in receiving:
        await started.acquire()
    refused = await post(allowed)
    assert_problem(refused, 429, "rate-limited")
    assert refused.headers["retry-after"] == "5"
    if same:
        async with client_of(app, token(org_id="globex")) as client:
            assert (await import_csv(client, "email\n")).status_code == 200
    end.set()
    assert [response.status_code for response in await asyncio.gather(*receiving)] == [200] * allowed
    async with client_of(app, token()) as client:
        assert (await import_csv(client, "email\n")).status_code == 200


async def test_the_location_leads_to_the_import(admin: httpx.AsyncClient) -> None:
    response = await import_csv(admin, "email\nann@example.com\n")
    assert (await admin.get(BASE_URL + response.headers["location"])).json() == response.json()
