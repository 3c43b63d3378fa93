"""What a report changes in its send, its campaign and its address, and which reports change nothing."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from marketing_service.addresses import MailboxKey, mailbox_key
from marketing_service.errors import Unavailable
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.reports import Kind
from marketing_service.store.states import SendStatus, SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry
from marketing_service.tracking import Outcome, ReportHandler
from tests.integration.tracking.reported import ANN, about, delivered, handler_of, suppressions, unconfirmed
from tests.support.ledger import assert_adds_up, campaign_row, contact, launched, send_rows
from tests.support.reports import (
    ADDRESSES,
    MAILBOX_FULL,
    UNKNOWN_USER,
    VACATION,
    complaint,
    delivery_report,
)
from tests.support.steps import claim, deliver_all, mark, record, release

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.db import Database, Transaction
    from tests.support.world import World


async def test_a_hard_bounce_fails_the_send_and_suppresses_the_address(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await delivered(owner)
    assert await about(handler, send, delivery_report(UNKNOWN_USER)) == (Kind.FAILED, Outcome.BOUNCED_HARD)
    row = (await send_rows(owner, campaign_id))[0]
    assert (row["status"], row["reason"], row["smtp_code"], row["enhanced_code"]) == (
        "FAILED", "BOUNCED_HARD", 550, "5.1.1",
    )  # fmt: skip
    assert row["error_message"] == "5.1.1 <gone@example.com>: User unknown"
    assert row["sent_at"] is not None
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["failed"], counters["delivered"], counters["hard_bounces"]) == (1, 0, 1)
    assert (await campaign_row(owner, campaign_id))["status"] == "SENT"
    (suppression,) = await suppressions(owner)
    assert (suppression["address"], suppression["reason"], suppression["origin"], suppression["campaign_id"]) == (
        ANN, "HARD_BOUNCE", "REPORT", campaign_id,
    )  # fmt: skip


async def test_a_hard_bounce_skips_waiting_sends_to_the_address_in_other_campaigns(
    owner: Database, handler: ReportHandler
) -> None:
    _, send = await delivered(owner, "Ann@Example.com")
    waiting = await launched(owner, [contact(1, email=ANN, address=ANN), contact(2)])
    others = await launched(owner, [contact(1, email=ANN, address=ANN)], org_id="globex")
    await about(handler, send, delivery_report(UNKNOWN_USER))
    rows = await send_rows(owner, waiting)
    assert [(row["status"], row["reason"]) for row in rows] == [("SKIPPED", "SUPPRESSED"), ("QUEUED", None)]
    assert (await assert_adds_up(owner, waiting))["skipped"] == 1
    assert [row["status"] for row in await send_rows(owner, others)] == ["QUEUED"]


async def test_an_unconfirmed_send_can_bounce(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await unconfirmed(owner)
    assert (await about(handler, send, delivery_report(MAILBOX_FULL))).outcome is Outcome.BOUNCED_SOFT
    assert (await assert_adds_up(owner, campaign_id))["soft_bounces"] == 1


@pytest.mark.parametrize(
    "raw",
    [
        delivery_report("250 2.0.0 Ok", action="delivered"),
        delivery_report("250 2.0.0 Ok", action="relayed"),
        delivery_report("451 4.4.1 Timed out", action="delayed"),
        VACATION,
    ],
    ids=["delivered", "relayed", "delayed", "automatic reply"],
)
async def test_a_reply_to_an_unconfirmed_send_confirms_its_delivery(
    owner: Database, handler: ReportHandler, raw: bytes
) -> None:
    campaign_id, send = await unconfirmed(owner)
    assert (await about(handler, send, raw)).outcome is Outcome.CONFIRMED
    row = (await send_rows(owner, campaign_id))[0]
    assert (row["status"], row["sent_at"]) == ("DELIVERED", row["marked_at"])
    assert (await assert_adds_up(owner, campaign_id))["delivered"] == 1
    assert (await about(handler, send, raw)).outcome is Outcome.NOTHING


@pytest.mark.parametrize(
    "raw", [delivery_report("451 4.4.1 Timed out", action="delayed"), VACATION, b"", b"\xff\0rubbish"]
)
async def test_a_report_of_no_failure_changes_nothing(owner: Database, handler: ReportHandler, raw: bytes) -> None:
    campaign_id, send = await delivered(owner)
    assert (await about(handler, send, raw)).outcome is Outcome.NOTHING
    assert await send_rows(owner, campaign_id) == [send]
    assert await suppressions(owner) == []


async def test_a_replayed_report_changes_nothing(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await delivered(owner)
    await about(handler, send, delivery_report(MAILBOX_FULL))
    before = await send_rows(owner, campaign_id)
    for said in (MAILBOX_FULL, UNKNOWN_USER):
        assert (await about(handler, send, delivery_report(said))).outcome is Outcome.NOTHING
    assert await send_rows(owner, campaign_id) == before
    assert await suppressions(owner) == []


async def test_concurrent_copies_of_a_report_count_once(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await delivered(owner)
    outcomes = await asyncio.gather(*(about(handler, send, delivery_report(UNKNOWN_USER)) for _ in range(8)))
    assert sorted(handled.outcome for handled in outcomes) == [Outcome.BOUNCED_HARD] + [Outcome.NOTHING] * 7
    assert (await assert_adds_up(owner, campaign_id))["hard_bounces"] == 1


async def test_a_report_of_another_attempt_changes_nothing(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await delivered(owner)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_sends SET attempts = 2"))
    for attempt in (1, 3):
        handled = await about(handler, send, delivery_report(UNKNOWN_USER), attempt=attempt)
        assert handled.outcome is Outcome.NOTHING
    assert (await assert_adds_up(owner, campaign_id))["failed"] == 0


async def test_a_report_that_arrives_before_the_outcome_waits_for_it(owner: Database, world: World) -> None:
    campaign_id = await launched(owner, [contact(1, email=ANN, address=ANN)])
    held, waiting = await claim(owner, campaign_id)
    (marked,) = (await mark(owner, held, *waiting)).marked.values()
    send = (await send_rows(owner, campaign_id))[0]
    looked = asyncio.Event()
    real = world.worker.transactions

    @asynccontextmanager
    async def transactions(org_id: str | None = None) -> AsyncIterator[Transaction]:
        async with real(org_id) as tx:
            yield tx
        if org_id is not None:  # the first transaction only finds the organisation; this one reads the send
            looked.set()

    world.worker = replace(world.worker, transactions=transactions)
    early = asyncio.create_task(about(handler_of(world), send, delivery_report(UNKNOWN_USER)))
    await looked.wait()
    assert not early.done()
    await record(owner, held, marked, SendStatus.DELIVERED)
    assert (await early).outcome is Outcome.BOUNCED_HARD


async def test_a_report_of_a_send_that_stays_sending_must_be_delivered_again(
    owner: Database, handler: ReportHandler
) -> None:
    campaign_id = await launched(owner, [contact(1, email=ANN, address=ANN)])
    held, waiting = await claim(owner, campaign_id)
    await mark(owner, held, *waiting)
    send = (await send_rows(owner, campaign_id))[0]
    with pytest.raises(Unavailable):
        await about(handler, send, delivery_report(UNKNOWN_USER))
    assert (await send_rows(owner, campaign_id))[0]["status"] == "SENDING"


async def test_a_forged_address_runs_no_query(world: World, handler: ReportHandler) -> None:
    statements: list[str] = []
    engine = world.worker.transactions.__self__._engine.sync_engine  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    made = ADDRESSES.of(uuid.uuid4(), 1)
    for recipient in (
        made.replace(made[10], "a" if made[10] != "a" else "b"),
        "ann@example.com",
        "",
        "b-@" + ADDRESSES.domain,
    ):
        assert not handler.accepts(recipient)
        assert await handler.handle(recipient, delivery_report(UNKNOWN_USER)) == (Kind.OTHER, Outcome.UNKNOWN)
    assert await handler.handle(ADDRESSES.complaints, VACATION) == (Kind.OTHER, Outcome.NOTHING)
    assert statements == []


async def test_a_report_of_an_unknown_send_has_the_outcome_unknown(handler: ReportHandler) -> None:
    handled = await handler.handle(ADDRESSES.of(uuid.uuid4(), 1), delivery_report(UNKNOWN_USER))
    assert handled.outcome is Outcome.UNKNOWN
    assert (await handler.handle(ADDRESSES.complaints, complaint(uuid.uuid4()))).outcome is Outcome.UNKNOWN


async def test_another_organisations_token_changes_nothing(owner: Database, handler: ReportHandler) -> None:
    campaign_id, send = await delivered(owner)
    for raw in (delivery_report(UNKNOWN_USER), complaint(send["id"])):
        handled = await handler.handle(ADDRESSES.of(send["id"], 1), raw, org_id="globex")
        assert handled.outcome is Outcome.UNKNOWN
    assert await send_rows(owner, campaign_id) == [send]


async def opt_outs(owner: Database) -> list[str]:
    async with owner.transaction() as tx:
        return list((await tx.connection.execute(text("SELECT address FROM marketing_opt_outs"))).scalars())


@pytest.mark.parametrize("attempt", [None, 1], ids=["by the unsubscribe link", "by the return path"])
async def test_a_complaint_opts_the_address_out(owner: Database, handler: ReportHandler, attempt: int | None) -> None:
    campaign_id, send = await delivered(owner)
    waiting = await launched(owner, [contact(1, email=ANN, address=ANN)])
    handled = await handler.handle(ADDRESSES.complaints, complaint(send["id"], attempt=attempt))
    assert handled == (Kind.COMPLAINT, Outcome.OPTED_OUT)
    assert await opt_outs(owner) == [ANN]
    assert (await send_rows(owner, campaign_id))[0]["unsubscribed_at"] is not None
    assert [(row["status"], row["reason"]) for row in await send_rows(owner, waiting)] == [("SKIPPED", "OPTED_OUT")]
    assert (await assert_adds_up(owner, campaign_id))["unsubscribes"] == 1


async def test_a_complaint_may_arrive_at_the_return_path(owner: Database, handler: ReportHandler) -> None:
    _, send = await delivered(owner)
    assert (await about(handler, send, complaint(uuid.uuid4()))).outcome is Outcome.OPTED_OUT
    assert await opt_outs(owner) == [ANN]


async def test_a_replayed_or_withdrawn_complaint_opts_nobody_out(owner: Database, handler: ReportHandler) -> None:
    """The person may have subscribed again in between."""
    _, send = await delivered(owner)
    assert (
        await handler.handle(ADDRESSES.complaints, complaint(send["id"], kind="not-spam"))
    ).outcome is Outcome.NOTHING
    assert await opt_outs(owner) == []
    await handler.handle(ADDRESSES.complaints, complaint(send["id"]))
    async with owner.transaction() as tx:
        await tx.connection.execute(text("DELETE FROM marketing_opt_outs"))
    assert (await handler.handle(ADDRESSES.complaints, complaint(send["id"]))).outcome is Outcome.NOTHING
    assert await opt_outs(owner) == []


async def test_concurrent_bounces_and_suppressions_of_one_address_do_not_deadlock(
    owner: Database, world: World, handler: ReportHandler
) -> None:
    """Bounces, complaints and manual suppressions of the same addresses, in the same campaigns, at once."""
    people = [f"p{number}@example.com" for number in range(6)]
    contacts = [contact(number, email=email, address=email) for number, email in enumerate(people)]
    keys = [mailbox_key(email) for email in people]
    sent = await launched(owner, contacts)
    await deliver_all(owner, sent)
    waiting = [await launched(owner, contacts) for _ in range(3)]

    async def by_hand(addresses: list[MailboxKey]) -> None:
        async with world.worker.transactions("acme") as tx:
            locked = await lock_campaigns_waiting_for(tx.connection, org_id="acme", addresses=addresses)
            await suppress(
                tx.connection,
                org_id="acme",
                entries=[SuppressionEntry(address) for address in addresses],
                reason=SuppressionReason.MANUAL,
                origin=SuppressionOrigin.API,
                locked=locked,
            )

    await asyncio.gather(
        *(about(handler, send, delivery_report(UNKNOWN_USER)) for send in await send_rows(owner, sent)),
        *(handler.handle(ADDRESSES.complaints, complaint(send["id"])) for send in await send_rows(owner, sent)),
        by_hand(keys),
        by_hand(keys[::-1]),
    )
    assert (await assert_adds_up(owner, sent))["hard_bounces"] == len(people)
    for campaign_id in waiting:
        assert (await assert_adds_up(owner, campaign_id))["skipped"] == len(people)


async def test_concurrent_bounces_in_two_campaigns_do_not_deadlock(owner: Database, handler: ReportHandler) -> None:
    """Half of the contacts got the first message and wait for the second, the others the reverse. All bounce."""
    people = [contact(number) for number in range(10)]
    bounced = []
    for half in (0, 1):
        campaign_id = await launched(owner, people)
        held, waiting = await claim(owner, campaign_id)
        step = await mark(owner, held, *(send for place, send in enumerate(waiting) if place % 2 == half))
        for marked in step.marked.values():
            await record(owner, held, marked, SendStatus.DELIVERED)
        await release(owner, held)
        bounced += [row for row in await send_rows(owner, campaign_id) if row["status"] == "DELIVERED"]
    await asyncio.gather(*(about(handler, send, delivery_report(UNKNOWN_USER)) for send in bounced))
    for campaign_id in {send["campaign_id"] for send in bounced}:
        counters = await assert_adds_up(owner, campaign_id)
        assert (counters["hard_bounces"], counters["skipped"]) == (5, 5)
