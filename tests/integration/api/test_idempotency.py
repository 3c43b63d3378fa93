"""Idempotency-Key: a repeated request gets the response of the first one, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.store.idempotency import forget_old_responses
from tests.integration.api.support import BROKEN, CAMPAIGNS, MESSAGE, Crm, assert_problem, path, saved
from tests.support.ledger import contact, launched
from tests.support.steps import settle_as

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import httpx

    from marketing_service.db import Database

KEY = {"Idempotency-Key": "5f0c6c3e"}
REPEATED_HEADERS = ("etag", "location", "content-type")


async def count(owner: Database, table: str) -> int:
    async with owner.transaction() as tx:
        return int((await tx.connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def failed_send(owner: Database, admin: httpx.AsyncClient) -> tuple[UUID, str]:
    """A campaign with one FAILED send to a contact of the CRM."""
    campaign_id = await launched(owner, [contact(1, contact_id="contact-0000001")])
    await settle_as(owner, campaign_id, "'FAILED'")
    send_id = (await admin.get(path(campaign_id, "/sends"))).json()["items"][0]["id"]
    return campaign_id, send_id


async def creating(_: httpx.AsyncClient, __: Database) -> tuple[str, Any]:
    return CAMPAIGNS, MESSAGE


async def launching(admin: httpx.AsyncClient, _: Database) -> tuple[str, Any]:
    return path(await saved(admin), "/launch"), None


async def duplicating(admin: httpx.AsyncClient, _: Database) -> tuple[str, Any]:
    return path(await saved(admin), "/duplicate"), None


async def sending_a_test(admin: httpx.AsyncClient, _: Database) -> tuple[str, Any]:
    return path(await saved(admin), "/test"), {"to": ["you@example.com"]}


async def resending(admin: httpx.AsyncClient, owner: Database) -> tuple[str, Any]:
    campaign_id, send_id = await failed_send(owner, admin)
    return path(campaign_id, f"/sends/{send_id}/resend"), None


async def resending_many(admin: httpx.AsyncClient, owner: Database) -> tuple[str, Any]:
    campaign_id, _ = await failed_send(owner, admin)
    return path(campaign_id, "/resend"), {"status": ["FAILED"]}


ACTS = [creating, launching, duplicating, sending_a_test, resending, resending_many]


@pytest.mark.parametrize("act", ACTS)
async def test_a_repeated_request_gets_the_same_response_and_changes_nothing(
    act: Callable[[httpx.AsyncClient, Database], Awaitable[tuple[str, Any]]], admin: httpx.AsyncClient, owner: Database
) -> None:
    address, body = await act(admin, owner)
    first = await admin.post(address, json=body, headers=KEY)
    assert first.is_success, first.text
    tables = ("marketing_campaigns", "marketing_test_mails", "marketing_resends")
    before = [await count(owner, table) for table in tables]
    again = await admin.post(address, json=body, headers=KEY)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert [again.headers.get(name) for name in REPEATED_HEADERS] == [
        first.headers.get(name) for name in REPEATED_HEADERS
    ]
    assert [await count(owner, table) for table in tables] == before


@pytest.mark.parametrize("act", [creating, duplicating])
async def test_without_a_key_or_with_another_key_it_is_a_new_request(
    act: Callable[[httpx.AsyncClient, Database], Awaitable[tuple[str, Any]]], admin: httpx.AsyncClient, owner: Database
) -> None:
    address, body = await act(admin, owner)
    keys: list[dict[str, str]] = [KEY, {"Idempotency-Key": "another"}, {}, {}]
    made = [(await admin.post(address, json=body, headers=headers)).json()["id"] for headers in keys]
    assert len(set(made)) == 4


async def test_many_requests_at_once_with_one_key_make_one_campaign(admin: httpx.AsyncClient, owner: Database) -> None:
    """Ten requests at a time use each connection of the pool twice. A hundred would wait longer for a connection than
    the service allows on a busy machine."""
    for round_number in range(1, 11):
        headers = {"Idempotency-Key": f"round-{round_number}"}
        async with asyncio.TaskGroup() as posting:
            tasks = [posting.create_task(admin.post(CAMPAIGNS, json=MESSAGE, headers=headers)) for _ in range(10)]
        responses = [task.result() for task in tasks]
        assert await count(owner, "marketing_campaigns") == round_number
        created = [response for response in responses if response.status_code == 201]
        assert len({response.content for response in created}) == 1
        for response in responses:
            if response.status_code != 201:
                assert_problem(response, 409, "request-in-flight")
        again = await admin.post(CAMPAIGNS, json=MESSAGE, headers=headers)
        assert (again.status_code, again.content) == (201, created[0].content)


async def test_while_another_transaction_locks_the_key_the_request_is_in_flight(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign = await saved(admin)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('5f0c6c3e', hashtextextended('acme', 0)))")
        )
        assert_problem(await admin.post(path(campaign, "/launch"), headers=KEY), 409, "request-in-flight")
    assert (await admin.post(path(campaign, "/launch"), headers=KEY)).status_code == 202


async def test_the_same_key_for_another_request_is_refused_and_changes_nothing(
    admin: httpx.AsyncClient, owner: Database
) -> None:
    campaign = (await admin.post(CAMPAIGNS, json=MESSAGE, headers=KEY)).json()
    other_body = await admin.post(CAMPAIGNS, json=MESSAGE | {"name": "Another"}, headers=KEY)
    assert_problem(other_body, 422, "key-reused")
    assert_problem(await admin.post(path(campaign, "/duplicate"), headers=KEY), 422, "key-reused")
    assert_problem(await admin.post(path(campaign, "/launch"), headers=KEY), 422, "key-reused")
    assert await count(owner, "marketing_campaigns") == 1
    assert (await admin.get(path(campaign))).json()["status"] == "DRAFT"


async def test_a_refusal_is_not_stored(admin: httpx.AsyncClient, crm: Crm) -> None:
    body = MESSAGE | {"audience": {"type": "BY_STATUS", "statuses": ["LEAD"]}}
    crm.status = BROKEN
    assert_problem(await admin.post(CAMPAIGNS, json=body, headers=KEY), 503, "unavailable")
    crm.status = None
    assert (await admin.post(CAMPAIGNS, json=body, headers=KEY)).status_code == 201


async def test_a_response_is_repeated_even_if_the_change_is_no_longer_possible(
    admin: httpx.AsyncClient, crm: Crm, owner: Database
) -> None:
    """The repeated request does not call the CRM, and does not depend on the state."""
    campaign_id, send_id = await failed_send(owner, admin)
    address = path(campaign_id, f"/sends/{send_id}/resend")
    first = await admin.post(address, headers=KEY)
    assert first.status_code == 202, first.text
    crm.status = BROKEN
    assert (await admin.post(address, headers=KEY)).content == first.content
    assert_problem(await admin.post(address), 409, "wrong-state")


async def test_organisations_do_not_share_keys(admin: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    ours = await admin.post(CAMPAIGNS, json=MESSAGE, headers=KEY)
    theirs = await stranger.post(CAMPAIGNS, json=MESSAGE, headers=KEY)
    assert (theirs.status_code, theirs.json()["id"] == ours.json()["id"]) == (201, False)


async def test_a_reader_does_not_get_a_stored_response(admin: httpx.AsyncClient, viewer: httpx.AsyncClient) -> None:
    assert (await admin.post(CAMPAIGNS, json=MESSAGE, headers=KEY)).status_code == 201
    assert_problem(await viewer.post(CAMPAIGNS, json=MESSAGE, headers=KEY), 403, "role")


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"tab\there", "é".encode(), b"\x7f"])
async def test_a_key_is_1_to_255_printable_characters(admin: httpx.AsyncClient, owner: Database, key: bytes) -> None:
    response = await admin.post(CAMPAIGNS, json=MESSAGE, headers=[(b"Idempotency-Key", key)])
    problem = assert_problem(response, 422, "invalid-input", "Idempotency-Key")
    assert problem["errors"][0]["code"] == "idempotency-key"
    assert await count(owner, "marketing_campaigns") == 0


async def test_a_key_is_given_once(admin: httpx.AsyncClient) -> None:
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await admin.post(CAMPAIGNS, json=MESSAGE, headers=twice)
    assert_problem(response, 422, "invalid-input", "Idempotency-Key")


async def test_after_a_day_a_key_is_forgotten(admin: httpx.AsyncClient, owner: Database) -> None:
    first = await admin.post(CAMPAIGNS, json=MESSAGE, headers={"Idempotency-Key": "x" * 255})
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_idempotency_keys SET created_at = now() - interval '25 h'"))
    second = await admin.post(CAMPAIGNS, json=MESSAGE, headers={"Idempotency-Key": "x" * 255})
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]
    await admin.post(CAMPAIGNS, json=MESSAGE, headers=KEY)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text("UPDATE marketing_idempotency_keys SET created_at = now() - interval '25 h' WHERE key LIKE 'xxx%'")
        )
        await forget_old_responses(tx.connection)
    assert await count(owner, "marketing_idempotency_keys") == 1
