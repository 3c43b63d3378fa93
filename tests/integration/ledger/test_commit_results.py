"""Committing results and marking, with the fence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger import expansion, expired_leases, lifecycle
from marketing_service.store import batches, expansions
from marketing_service.store.states import SendStatus
from tests.support.ledger import (
    assert_adds_up,
    audit_moves,
    campaign_row,
    cancel,
    contact,
    draft,
    illegal_moves,
    launched,
    send_rows,
)
from tests.support.steps import claim, deliver_all, let_leases_run_out, mark, record, release

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database


async def _pause(owner: Database, campaign_id: UUID) -> None:
    async with owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)


async def test_a_campaign_is_sent_when_its_last_send_has_an_outcome_and_not_before(owner: Database) -> None:
    await audit_moves(owner)
    campaign_id = await launched(owner, 3)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    outcomes = [SendStatus.DELIVERED, SendStatus.FAILED, SendStatus.UNCONFIRMED]
    for marked, status in zip(step.marked.values(), outcomes, strict=True):
        assert (await campaign_row(owner, campaign_id))["status"] == "SENDING"
        await record(owner, held, marked, status)
        await assert_adds_up(owner, campaign_id)
    await release(owner, held)
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["delivered"], row["failed"], row["unconfirmed"]) == ("SENT", 1, 1, 1)
    assert await illegal_moves(owner) == set()


async def test_a_batch_has_one_claim_and_is_deleted_when_its_sends_are_settled(owner: Database) -> None:
    campaign_id = await launched(owner, 2)
    held, _ = await claim(owner, campaign_id)
    async with owner.transaction() as tx:
        assert await batches.claim_batch(tx.connection, campaign_id, 0, lease=60) is None
    await release(owner, held)
    await deliver_all(owner, campaign_id)
    async with owner.transaction() as tx:
        assert await batches.claim_batch(tx.connection, campaign_id, 0, lease=60) is None


async def test_nothing_is_marked_after_a_pause_and_results_are_still_recorded(owner: Database) -> None:
    campaign_id = await launched(owner, 3)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, waiting[0])
    await _pause(owner, campaign_id)
    after = await mark(owner, held, *waiting[1:])
    assert (after.may_mark, after.marked) == (False, {})
    await record(owner, held, step.marked[waiting[0].id], SendStatus.DELIVERED)
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["delivered"], counters["queued"]) == (1, 2)
    async with owner.transaction() as tx:
        assert await lifecycle.resume(tx.connection, campaign_id)
    assert len((await mark(owner, held, *waiting[1:])).marked) == 2


async def test_a_worker_that_was_frozen_changes_nothing_after_its_lease_was_settled(owner: Database) -> None:
    """The fence refuses its write, also after another worker has claimed the batch."""
    campaign_id = await launched(owner, 2)
    frozen, waiting = await claim(owner, campaign_id)
    step = await mark(owner, frozen, waiting[0])
    await let_leases_run_out(owner)
    async with owner.transaction() as tx:
        assert await expired_leases.settle_expired(tx.connection, campaign_id) == [waiting[0].id]
    other, due = await claim(owner, campaign_id)
    assert [send.id for send in due] == [waiting[1].id]
    await mark(owner, other, due[0])
    assert (await mark(owner, frozen, waiting[1])).marked == {}
    late = await record(owner, frozen, step.marked[waiting[0].id], SendStatus.FAILED)
    assert late.recorded == frozenset()
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["unconfirmed"], counters["sending"]) == (1, 1)


async def test_a_late_250_proves_an_unconfirmed_send_delivered(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    frozen, waiting = await claim(owner, campaign_id)
    step = await mark(owner, frozen, waiting[0])
    await let_leases_run_out(owner)
    async with owner.transaction() as tx:
        await expired_leases.settle_expired(tx.connection, campaign_id)
    late = await record(owner, frozen, step.marked[waiting[0].id], SendStatus.DELIVERED)
    assert late.recorded == {waiting[0].id}
    assert (await assert_adds_up(owner, campaign_id))["delivered"] == 1


async def test_nothing_is_marked_under_an_expired_lease(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    held, waiting = await claim(owner, campaign_id)
    await let_leases_run_out(owner)
    assert (await mark(owner, held, *waiting)).marked == {}


async def test_a_send_that_was_certainly_not_submitted_uses_up_no_try(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    await record(owner, held, step.marked[waiting[0].id], SendStatus.QUEUED)
    (row,) = await send_rows(owner, campaign_id)
    assert (row["status"], row["attempts"], row["tries"], row["batch"]) == ("QUEUED", 0, 0, 0)
    again = await mark(owner, held, *waiting)
    assert again.marked[waiting[0].id].first_marked_at == step.marked[waiting[0].id].first_marked_at


async def test_a_deferred_send_leaves_its_batch_and_is_gathered_when_due(owner: Database) -> None:
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    first, second = (step.marked[send.id] for send in waiting)
    await record(owner, held, first, SendStatus.DELIVERED)
    await record(owner, held, second, SendStatus.DEFERRED, smtp_code=451, message="4.7.1 Later", delay=0.0)
    await release(owner, held)
    assert (await campaign_row(owner, campaign_id))["status"] == "SENDING"
    async with owner.transaction() as tx:
        assert await batches.campaigns_with_due_sends(tx.connection) == [campaign_id]
        await batches.gather_due(tx.connection, campaign_id, limit=100)
    held, due = await claim(owner, campaign_id, 1)
    assert [send.id for send in due] == [second.send.id]
    step = await mark(owner, held, *due)
    assert step.marked[second.send.id].tries == 2
    await record(owner, held, step.marked[second.send.id], SendStatus.DELIVERED)
    assert (await campaign_row(owner, campaign_id))["status"] == "SENT"
    await assert_adds_up(owner, campaign_id)


async def test_with_resend_ambiguous_an_unconfirmed_send_is_queued_again_and_keeps_its_moment(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    await record(owner, held, step.marked[waiting[0].id], SendStatus.UNCONFIRMED, resend_ambiguous=True, delay=3600.0)
    (row,) = await send_rows(owner, campaign_id)
    assert (row["status"], row["batch"]) == ("QUEUED", None)
    assert row["unconfirmed_at"] is not None
    assert row["due_at"] is not None
    await assert_adds_up(owner, campaign_id)


async def test_a_release_never_strands_a_marked_send(owner: Database) -> None:
    """A worker releases a batch although a mark has no result: the sweep must still find and settle the batch."""
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    await mark(owner, held, waiting[0])
    await release(owner, held)
    async with owner.transaction() as tx:
        assert await batches.campaigns_with_expired_leases(tx.connection) == [campaign_id]
        assert await expired_leases.settle_expired(tx.connection, campaign_id) == [waiting[0].id]


async def test_a_bounded_number_of_batches_is_enqueued_and_a_lost_one_is_enqueued_again(owner: Database) -> None:
    campaign_id = await launched(owner, 450)

    async def enqueue_count(requeue_after: float = 60.0) -> list[batches.BatchToEnqueue]:
        async with owner.transaction() as tx:
            return await batches.take_batches_to_enqueue(
                tx.connection, campaign_id, window=2, requeue_after=requeue_after
            )

    assert await enqueue_count() == [(0, 1, 0), (1, 1, 1)]
    assert await enqueue_count() == []
    await claim(owner, campaign_id, 0)
    assert await enqueue_count() == [(2, 1, 1)]
    assert await enqueue_count(requeue_after=0.0) == [(1, 2, 0), (2, 2, 1)]
    await _pause(owner, campaign_id)
    assert await enqueue_count(requeue_after=0.0) == []


async def test_a_worker_continues_a_campaign_only_while_no_other_campaign_waits(owner: Database) -> None:
    large, small = await launched(owner, 450), await launched(owner, 1)

    held, waiting = await claim(owner, large)
    for marked in (await mark(owner, held, *waiting)).marked.values():
        await record(owner, held, marked, SendStatus.DELIVERED)
    following = await batches.next_batch(owner.call, held, lease=60)
    assert following is not None
    assert (following[0].number, len(following[1])) == (1, len(waiting))
    async with owner.transaction() as tx:
        await batches.take_batches_to_enqueue(tx.connection, small, window=1, requeue_after=60)
    assert await batches.next_batch(owner.call, following[0], lease=60) is None
    await claim(owner, small)
    again = await batches.next_batch(owner.call, following[0], lease=60)
    assert again is not None
    assert (again[0].number, again[0].epoch) == (1, following[0].epoch + 2), "the released batch waits again"
    assert again[1] == following[1]


async def test_a_worker_does_not_continue_a_paused_campaign(owner: Database) -> None:
    campaign_id = await launched(owner, 150)
    held, _ = await claim(owner, campaign_id)
    await _pause(owner, campaign_id)
    assert await batches.next_batch(owner.call, held, lease=60) is None
    for number in (0, 1):
        assert (await claim(owner, campaign_id, number))[1], "both are free"


async def test_cancel_skips_waiting_sends_and_marked_ones_still_get_their_results(owner: Database) -> None:
    await audit_moves(owner)
    campaign_id = await launched(owner, 4)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting[:3])
    async with owner.transaction() as tx:
        assert await cancel(tx.connection, campaign_id)
    assert (await mark(owner, held, waiting[3])).marked == {}
    assert (await campaign_row(owner, campaign_id))["status"] == "SENDING"
    delivered, deferred, lost = (step.marked[send.id] for send in waiting[:3])
    await record(owner, held, delivered, SendStatus.DELIVERED)
    await record(owner, held, deferred, SendStatus.DEFERRED, delay=1.0)
    await record(owner, held, lost, SendStatus.QUEUED)
    rows = await send_rows(owner, campaign_id)
    assert sorted((row["status"], row["reason"]) for row in rows) == [
        ("DELIVERED", None),
        ("SKIPPED", "CANCELLED"),
        ("SKIPPED", "CANCELLED"),
        ("SKIPPED", "CANCELLED"),
    ]
    row = await campaign_row(owner, campaign_id)
    assert row["status"] == "SENT"
    assert row["cancelled_at"] is not None
    await assert_adds_up(owner, campaign_id)
    assert await illegal_moves(owner) == set()


async def test_cancel_before_the_expansion_is_sent_at_once_with_no_sends(owner: Database) -> None:
    campaign_id = await draft(owner)
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        attempt = await expansions.claim_expansion(tx.connection, campaign_id, lease=60)
        assert attempt
        await expansions.stage_contacts(tx.connection, attempt, page=0, contacts=[contact(1)], lease=60)
        assert await cancel(tx.connection, campaign_id)
        assert not await expansion.merge(tx.connection, attempt)
        await expansions.clean_staging(tx.connection)
        left = (await tx.connection.execute(text("SELECT count(*) FROM marketing_staged_contacts"))).scalar_one()
    row = await campaign_row(owner, campaign_id)
    assert (row["status"], row["recipients"], left) == ("SENT", 0, 0)
