"""The reasons of a campaign move with its sends: each move from or to a state with a reason is counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.addresses import MailboxKey
from marketing_service.ledger import bounces, expired_leases, opt_outs, resend
from marketing_service.store import batches
from marketing_service.store.reasons import MAX_REASONS, ReasonCount, reasons_of
from marketing_service.store.sends import reported_send
from marketing_service.store.states import FailReason, SendStatus
from tests.support.ledger import ORG, assert_adds_up, cancel, contact, launched
from tests.support.steps import claim, let_leases_run_out, mark, record

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database

LATER = 3600.0


async def reasons(owner: Database, campaign_id: UUID) -> dict[tuple[str, str | None, int | None, str | None], int]:
    await assert_adds_up(owner, campaign_id)
    async with owner.transaction() as tx:
        found = await reasons_of(tx.connection, campaign_id)
    return {(each.status.value, each.reason, each.smtp_code, each.enhanced_code): each.sends for each in found}


async def test_a_merge_counts_what_it_does_not_queue(owner: Database) -> None:
    same = contact(1).email
    people = [contact(0), contact(1), contact(2, email=same, address=same), contact(3, email=same, address=same)]
    campaign_id = await launched(owner, [*people, contact(4, deliverable=False)])
    assert await reasons(owner, campaign_id) == {
        ("SKIPPED", "DUPLICATE", None, None): 2,
        ("FAILED", "MALFORMED_ADDRESS", None, None): 1,
    }


async def test_results_are_counted_with_the_codes_of_their_replies(owner: Database) -> None:
    campaign_id = await launched(owner, 6)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    first, second, third, fourth, fifth, sixth = (step.marked[send.id] for send in waiting)
    for marked in (first, second):
        await record(
            owner, held, marked, SendStatus.FAILED, reason=FailReason.REJECTED, smtp_code=550, enhanced_code="5.1.1"
        )
    await record(owner, held, third, SendStatus.FAILED, reason=FailReason.REJECTED, smtp_code=554)
    await record(owner, held, fourth, SendStatus.DEFERRED, smtp_code=451, enhanced_code="4.7.1", delay=-1.0)
    await record(owner, held, fifth, SendStatus.UNCONFIRMED)
    await record(owner, held, sixth, SendStatus.DELIVERED)
    before = {
        ("FAILED", "REJECTED", 550, "5.1.1"): 2,
        ("FAILED", "REJECTED", 554, None): 1,
        ("DEFERRED", None, 451, "4.7.1"): 1,
    }
    assert await reasons(owner, campaign_id) == before

    # A deferred send that is marked again is not deferred any more.
    async with owner.transaction() as tx:
        await batches.gather_due(tx.connection, campaign_id, limit=10)
    held, waiting = await claim(owner, campaign_id, 1)
    step = await mark(owner, held, *waiting)
    del before["DEFERRED", None, 451, "4.7.1"]
    assert await reasons(owner, campaign_id) == before
    # Another reply is another reason.
    await record(owner, held, step.marked[waiting[0].id], SendStatus.DEFERRED, smtp_code=452, delay=LATER)
    assert await reasons(owner, campaign_id) == before | {("DEFERRED", None, 452, None): 1}


async def test_a_resend_takes_a_send_out_and_a_bounce_puts_it_in(owner: Database) -> None:
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    await record(owner, held, step.marked[waiting[0].id], SendStatus.FAILED, reason=FailReason.REJECTED, smtp_code=550)
    await record(owner, held, step.marked[waiting[1].id], SendStatus.DELIVERED)
    async with owner.transaction() as tx:
        assert await resend.requeue(
            tx.connection, campaign_id=campaign_id, send_id=waiting[0].id, read_at=datetime.now(UTC)
        )
        reported = await reported_send(tx.connection, waiting[1].id)
        assert reported is not None
        bounce = bounces.Bounce(
            is_hard=True, about_address=True, smtp_code=None, enhanced_code="5.1.1", message="No such mailbox"
        )
        assert await bounces.record_bounce(tx.connection, reported, bounce, max_soft=3)
    assert await reasons(owner, campaign_id) == {("FAILED", "BOUNCED_HARD", None, "5.1.1"): 1}


async def test_a_deferred_send_that_is_skipped_changes_its_reason(owner: Database) -> None:
    """The codes of its last reply stay on the row, and say nothing about the skip."""
    campaign_id = await launched(owner, 3)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    for marked in step.marked.values():
        await record(owner, held, marked, SendStatus.DEFERRED, smtp_code=451, delay=-1.0)
    address = MailboxKey(waiting[0].email)
    async with owner.transaction() as tx:
        await opt_outs.record_opt_out(
            tx.connection, org_id=ORG, campaign_id=campaign_id, send_id=waiting[0].id, address=address
        )
    assert await reasons(owner, campaign_id) == {
        ("DEFERRED", None, 451, None): 2,
        ("SKIPPED", "OPTED_OUT", None, None): 1,
    }
    # A mark finds an address that was suppressed without its sends.
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_suppressions (org_id, address, reason, origin)"
                " VALUES (:org_id, :address, 'MANUAL', 'API')"
            ),
            {"org_id": ORG, "address": waiting[1].email},
        )
        await batches.gather_due(tx.connection, campaign_id, limit=10)
    held, due = await claim(owner, campaign_id, 1)
    step = await mark(owner, held, *(send for send in due if send.email == waiting[1].email))
    assert step.marked == {}
    async with owner.transaction() as tx:
        assert await cancel(tx.connection, campaign_id)
    assert await reasons(owner, campaign_id) == {
        ("SKIPPED", "OPTED_OUT", None, None): 1,
        ("SKIPPED", "SUPPRESSED", None, None): 1,
        ("SKIPPED", "CANCELLED", None, None): 1,
    }


async def test_moves_without_a_reason_write_no_row(owner: Database) -> None:
    """The hot path: marks and deliveries, and what was certainly not submitted."""
    campaign_id = await launched(owner, 4)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    states = (SendStatus.DELIVERED, SendStatus.QUEUED, SendStatus.UNCONFIRMED)
    for send, status in zip(waiting, states, strict=False):
        await record(owner, held, step.marked[send.id], status)
    await let_leases_run_out(owner)
    async with owner.transaction() as tx:
        await expired_leases.settle_expired(tx.connection, campaign_id)
        rows = (await tx.connection.execute(text("SELECT count(*) FROM marketing_reasons"))).scalar_one()
    assert rows == 0
    assert await reasons(owner, campaign_id) == {}


async def test_the_most_frequent_reasons_are_listed(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_reasons (org_id, campaign_id, status, reason, smtp_code, enhanced_code, sends)"
                " SELECT :org_id, :id, 'FAILED', 'REJECTED', 550, '5.1.' || n, n FROM generate_series(-1, 300) AS n"
            ),
            {"org_id": ORG, "id": campaign_id},
        )
        found = await reasons_of(tx.connection, campaign_id)
    assert len(found) == MAX_REASONS
    assert found[0] == ReasonCount(SendStatus.FAILED, "REJECTED", 550, "5.1.300", 300)
    assert [each.sends for each in found] == sorted((each.sends for each in found), reverse=True)
