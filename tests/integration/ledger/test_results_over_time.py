"""Opt-outs, and resends that a user has requested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.addresses import mailbox_key
from marketing_service.ledger import opt_outs, resend
from marketing_service.store import batches
from marketing_service.store import opt_outs as pending_opt_outs
from marketing_service.store.states import SendStatus
from tests.support.ledger import (
    ORG,
    assert_adds_up,
    audit_moves,
    campaign_row,
    cancel,
    contact,
    illegal_moves,
    launched,
    send_rows,
)
from tests.support.steps import claim, deliver_all, mark, record, release

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database


async def _opt_out(owner: Database, campaign_id: UUID, row: dict[str, Any]) -> None:
    async with owner.transaction() as tx:
        await opt_outs.record_opt_out(
            tx.connection, org_id=ORG, campaign_id=campaign_id, send_id=row["id"], address=row["address"]
        )


async def _confirm(owner: Database) -> None:
    async with owner.transaction() as tx:
        for pending in await pending_opt_outs.take_due_opt_outs(tx.connection, limit=10, lease=60):
            await pending_opt_outs.confirm_opt_out(tx.connection, pending)


async def test_an_opt_out_skips_what_waits_for_its_address_in_every_campaign(owner: Database) -> None:
    await audit_moves(owner)
    past = await launched(owner, 2)
    await deliver_all(owner, past)
    waiting = await launched(owner, [contact(0), contact(7, address="person0@example.com"), contact(1)])
    await _opt_out(owner, past, (await send_rows(owner, past))[0])
    rows = await send_rows(owner, waiting)
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("SKIPPED", "OPTED_OUT"),
        ("QUEUED", None),
        ("SKIPPED", "DUPLICATE"),
    ]
    assert (await send_rows(owner, past))[0]["unsubscribed_at"] is not None
    await assert_adds_up(owner, waiting)
    assert await illegal_moves(owner) == set()


async def test_an_opt_out_that_arrives_between_claim_and_mark_is_not_mailed(owner: Database) -> None:
    """The opt-out did not move this row: a mark reads the opt-outs again."""
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, due_at)"
                " VALUES ('acme', 'person0@example.com', '{c0}', now())"
            )
        )
    step = await mark(owner, held, *waiting)
    assert set(step.marked) == {waiting[1].id}
    rows = await send_rows(owner, campaign_id)
    assert (rows[0]["status"], rows[0]["reason"], rows[0]["attempts"]) == ("SKIPPED", "OPTED_OUT", 0)
    await assert_adds_up(owner, campaign_id)


async def test_an_opt_out_blocks_launches_until_the_crm_has_it_and_its_flag_is_read_again(
    owner: Database,
) -> None:
    first = await launched(owner, 1)
    await deliver_all(owner, first)
    await _opt_out(owner, first, (await send_rows(owner, first))[0])
    blocked = await launched(owner, 1)
    assert (await send_rows(owner, blocked))[0]["reason"] == "OPTED_OUT"
    await _confirm(owner)
    # The CRM was read after the confirmation and returned the contact: a user has removed the flag there.
    again = await launched(owner, 1)
    assert (await send_rows(owner, again))[0]["status"] == "QUEUED"


async def test_a_due_opt_out_has_one_writer_until_its_lease_ends(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    await _opt_out(owner, campaign_id, (await send_rows(owner, campaign_id))[0])
    async with owner.transaction() as tx:
        (pending,) = await pending_opt_outs.take_due_opt_outs(tx.connection, limit=10, lease=60)
        assert pending.contact_ids == ("c000000",)
        assert pending.tries == 0
    async with owner.transaction() as tx:
        assert await pending_opt_outs.take_due_opt_outs(tx.connection, limit=10, lease=60) == []
        await pending_opt_outs.postpone_opt_outs(tx.connection, [(pending, 0.0)])
    async with owner.transaction() as tx:
        (pending,) = await pending_opt_outs.take_due_opt_outs(tx.connection, limit=10, lease=60)
        assert pending.tries == 1


async def test_a_resend_takes_the_campaign_back_to_sending_until_it_is_done(owner: Database) -> None:
    await audit_moves(owner)
    campaign_id = await launched(owner, 1)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    await record(owner, held, step.marked[waiting[0].id], SendStatus.FAILED, reason="REJECTED", smtp_code=550)
    await release(owner, held)
    sent = await campaign_row(owner, campaign_id)
    async with owner.transaction() as tx:
        assert await resend.requeue(
            tx.connection, campaign_id=campaign_id, send_id=waiting[0].id, read_at=datetime.now(UTC)
        )
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["sent_at"]) == ("SENDING", sent["sent_at"])
    async with owner.transaction() as tx:
        await batches.gather_due(tx.connection, campaign_id, limit=10)
    await deliver_all(owner, campaign_id, 1)
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["delivered"], row["failed"]) == ("SENT", 1, 0)
    (send,) = await send_rows(owner, campaign_id)
    assert (send["attempts"], send["tries"], send["smtp_code"]) == (2, 1, None)
    assert await illegal_moves(owner) == set()


async def test_a_resend_in_a_cancelled_campaign_is_mailed(owner: Database) -> None:
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, waiting[0])
    await record(owner, held, step.marked[waiting[0].id], SendStatus.FAILED, reason="REJECTED")
    await release(owner, held)
    async with owner.transaction() as tx:
        assert await cancel(tx.connection, campaign_id)
    async with owner.transaction() as tx:
        await resend.requeue(tx.connection, campaign_id=campaign_id, send_id=waiting[0].id, read_at=datetime.now(UTC))
    async with owner.transaction() as tx:
        await batches.gather_due(tx.connection, campaign_id, limit=10)
    await deliver_all(owner, campaign_id, 1)
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["delivered"], row["skipped"]) == ("SENT", 1, 1)
    await assert_adds_up(owner, campaign_id)


async def test_only_a_failed_or_unconfirmed_send_is_requeued(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    await deliver_all(owner, campaign_id)
    (row,) = await send_rows(owner, campaign_id)
    async with owner.transaction() as tx:
        assert not await resend.requeue(
            tx.connection, campaign_id=campaign_id, send_id=row["id"], read_at=datetime.now(UTC)
        )


async def test_an_opt_out_outweighs_only_what_the_crm_said_before_it_was_confirmed(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    await _opt_out(owner, campaign_id, (await send_rows(owner, campaign_id))[0])

    async def blocked(read_at: datetime) -> bool:
        async with owner.transaction() as tx:
            return await pending_opt_outs.is_blocked(
                tx.connection, org_id=ORG, address=mailbox_key("person0@example.com"), read_at=read_at
            )

    later = datetime.now(UTC) + timedelta(minutes=1)
    assert await blocked(later)
    await _confirm(owner)
    assert not await blocked(later)
    assert await blocked(later - timedelta(hours=1))
