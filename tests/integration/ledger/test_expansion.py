"""The expansion: from staged contacts to sends."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.addresses import mailbox_key
from marketing_service.ledger import expansion, lifecycle
from marketing_service.store import expansions
from tests.support.ledger import (
    assert_adds_up,
    campaign_row,
    contact,
    draft,
    launched,
    send_rows,
)

if TYPE_CHECKING:
    from marketing_service.db import Database


async def test_merge_writes_one_row_per_contact_and_batches_of_a_hundred(owner: Database) -> None:
    campaign_id = await launched(owner, 250)
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["recipients"], counters["queued"]) == (250, 250)
    rows = await send_rows(owner, campaign_id)
    assert [row["batch"] for row in rows] == [0] * 100 + [1] * 100 + [2] * 50
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["next_batch"]) == ("SENDING", 3)
    assert row["expanded_at"] is not None


async def test_of_two_contacts_with_one_address_the_lowest_id_is_mailed(owner: Database) -> None:
    people = [contact(n, address="same@example.com", email="Same@example.com") for n in (2, 1, 3)]
    campaign_id = await launched(owner, people)
    rows = await send_rows(owner, campaign_id)
    assert [(row["contact_id"], row["status"], row["reason"]) for row in rows] == [
        ("c000001", "QUEUED", None),
        ("c000002", "SKIPPED", "DUPLICATE"),
        ("c000003", "SKIPPED", "DUPLICATE"),
    ]
    await assert_adds_up(owner, campaign_id)


async def test_a_malformed_address_is_a_failed_send(owner: Database) -> None:
    campaign_id = await launched(owner, [contact(1, deliverable=False), contact(2)])
    rows = await send_rows(owner, campaign_id)
    assert [(row["status"], row["reason"]) for row in rows] == [("FAILED", "MALFORMED_ADDRESS"), ("QUEUED", None)]
    await assert_adds_up(owner, campaign_id)


async def test_a_contact_on_two_pages_is_one_send_from_the_later_page(owner: Database) -> None:
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt
        await expansions.stage_contacts(
            tx.connection, attempt, page=0, contacts=[contact(1, first_name="Old")], lease=60
        )
        await expansions.stage_contacts(
            tx.connection, attempt, page=1, contacts=[contact(1, first_name="New")], lease=60
        )
        assert await expansion.merge(tx.connection, attempt)
    (row,) = await send_rows(owner, campaign_id)
    assert row["first_name"] == "New"


async def test_an_address_on_an_earlier_page_only_makes_no_duplicate(owner: Database) -> None:
    """Contact 1 moved to another address while the pages were read, and contact 2 has the one it had."""
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt
        before = contact(1, email="shared@example.com", address="shared@example.com")
        second = contact(2, email="shared@example.com", address="shared@example.com")
        await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=[before, second], lease=60)
        await expansions.stage_contacts(tx.connection, attempt, page=1, contacts=[contact(1), contact(1)], lease=60)
        assert await expansion.merge(tx.connection, attempt)
    rows = await send_rows(owner, campaign_id)
    assert [(row["email"], row["status"]) for row in rows] == [
        ("person1@example.com", "QUEUED"),
        ("shared@example.com", "QUEUED"),
    ]


async def test_the_ids_of_a_campaigns_sends_count_up_from_one_uuidv7(owner: Database) -> None:
    ids = [
        row["id"]
        for campaign_id in (await launched(owner, 300), await launched(owner, 300))
        for row in await send_rows(owner, campaign_id)
    ]
    assert len(set(ids)) == 600
    assert ids == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}


async def test_clean_staging_keeps_only_what_a_running_expansion_needs(owner: Database) -> None:
    expanding = []
    for number in range(4):
        campaign_id = await draft(owner)
        async with owner.transaction() as tx:
            await lifecycle.launch(tx.connection, campaign_id, audience=None)
            attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
            assert attempt
            await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=[contact(1), contact(2)], lease=60)
            if number % 2:
                assert await expansion.merge(tx.connection, attempt)
            else:
                expanding.append(campaign_id)
    async with owner.transaction() as tx:
        await expansions.clean_staging(tx.connection)
        kept = await tx.connection.execute(text("SELECT campaign_id FROM marketing_staged_contacts ORDER BY 1"))
        assert list(kept.scalars()) == [campaign_id for campaign_id in expanding for _ in range(2)]


async def test_an_empty_audience_is_sent_with_no_recipients(owner: Database) -> None:
    campaign_id = await launched(owner, 0)
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["recipients"]) == ("SENT", 0)
    assert row["sent_at"] is not None


async def test_only_one_attempt_has_an_expansion_and_an_overtaken_one_changes_nothing(owner: Database) -> None:
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        first = await expansions.claim_expansion(tx.connection, campaign_id, lease=0.001)
        assert first
    async with owner.transaction() as tx:
        second = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert second
        assert second.epoch == first.epoch + 1
        assert await expansions.claim_expansion(tx.connection, campaign_id, lease=60) is None
        assert not await expansions.stage_contacts(tx.connection, first, page=0, contacts=[contact(1)], lease=60)
        assert not await expansion.merge(tx.connection, first)
        assert await expansions.stage_contacts(tx.connection, second, page=0, contacts=[contact(2)], lease=60)
        assert await expansion.merge(tx.connection, second)
        assert not await expansion.merge(tx.connection, second)
    assert [row["contact_id"] for row in await send_rows(owner, campaign_id)] == ["c000002"]


async def test_a_staging_table_that_a_crash_emptied_is_noticed(owner: Database) -> None:
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt
        await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=[contact(1), contact(2)], lease=60)
        await tx.connection.execute(text("TRUNCATE marketing_staged_contacts"))
        try:
            await expansion.merge(tx.connection, attempt)
        except expansion.StagingIncomplete:
            return
    raise AssertionError("the merge made a list of what was left")


async def test_a_failed_launch_has_a_reason_and_no_sends(owner: Database) -> None:
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt
        await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=[contact(1)], lease=60)
        assert await lifecycle.fail_launch(
            tx.connection, campaign_id, epoch=attempt.epoch, code=lifecycle.FailureCode.CRM_REFUSED, message="No."
        )
        assert not await expansion.merge(tx.connection, attempt)
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["failure_code"], row["recipients"]) == ("FAILED", "CRM_REFUSED", 0)
    assert await send_rows(owner, campaign_id) == []


async def test_a_malformed_address_does_not_hide_another_contact_with_its_key(owner: Database) -> None:
    same = {"address": mailbox_key("info@example.com")}
    people = [
        contact(1, email="info@example.com.", deliverable=False, **same),
        contact(2, email="info@example.com", **same),
    ]
    rows = await send_rows(owner, await launched(owner, people))
    assert [(row["status"], row["reason"]) for row in rows] == [("FAILED", "MALFORMED_ADDRESS"), ("QUEUED", None)]
