"""One active batch: which send is next, when it is finished, and what a submission means for it."""

from __future__ import annotations

import asyncio

from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.replies import Phase
from marketing_service.sending.batch import MAX_SENDER_REFUSALS
from marketing_service.sending.throttle import MAX_CONSECUTIVE_DEFERRALS, DomainThrottle
from marketing_service.store.states import FailReason, SendStatus
from tests.support.engine import ACCEPTED, NOT_BEGUN, active_batch, marked, refused, waiting

DENIED = refused(554, "5.7.1 Relay access denied")


async def test_a_batch_finishes_when_every_send_is_settled() -> None:
    batch = active_batch(waiting(1), waiting(2))
    first, second = batch.take(), batch.take()
    assert first is not None
    assert second is not None
    batch.settle(first.id, waits_again=False)
    finished = asyncio.ensure_future(batch.finished())
    await asyncio.sleep(0)
    assert not finished.done()
    batch.settle(second.id, waits_again=False)
    await finished


async def test_a_send_that_waits_again_is_taken_again() -> None:
    batch = active_batch(waiting(1))
    send = batch.take()
    assert send is not None
    batch.settle(send.id, waits_again=True)
    assert batch.take() == send


async def test_a_send_that_was_put_back_is_the_next_one() -> None:
    batch = active_batch(waiting(1), waiting(2))
    first = batch.take()
    assert first is not None
    batch.put_back(first)
    assert batch.take() == first


async def test_a_stopped_batch_finishes_with_what_is_in_flight() -> None:
    batch = active_batch(waiting(1), waiting(2))
    send = batch.take()
    assert send is not None
    batch.stop()
    assert batch.take() is None
    batch.drop()
    await batch.finished()


async def test_sends_of_a_domain_that_backs_off_are_postponed_and_the_batch_finishes() -> None:
    throttle = DomainThrottle(first_backoff=10.0)
    batch = active_batch(waiting(1, "a@slow.example"), waiting(2, "b@fast.example"), throttle=throttle)
    for _ in range(MAX_CONSECUTIVE_DEFERRALS):
        throttle.deferred("z@slow.example", started=throttle.now())
    send = batch.take()
    assert send is not None
    assert send.email == "b@fast.example"
    batch.settle(send.id, waits_again=False)
    assert batch.take() is None
    await batch.finished()
    assert list(batch.postponed) == [waiting(1).id]


async def test_a_refusal_of_the_sender_at_mail_pauses_the_campaign_at_once() -> None:
    batch = active_batch(waiting(1), waiting(2))
    result = batch.result(marked(waiting(1)), refused(550, "5.7.1 Sender rejected", Phase.MAIL))
    assert result.status is SendStatus.QUEUED
    assert batch.pause_reason is PauseReason.RELAY_REFUSES_SENDER
    assert batch.waiting == 0


async def test_after_rcpt_several_recipients_must_be_refused_before_the_campaign_pauses() -> None:
    sends = [waiting(number) for number in range(MAX_SENDER_REFUSALS + 1)]
    batch = active_batch(*sends)
    for send in sends[: MAX_SENDER_REFUSALS - 1]:
        assert batch.result(marked(send), DENIED).status is SendStatus.QUEUED
        assert batch.pause_reason is None
    batch.result(marked(sends[MAX_SENDER_REFUSALS - 1]), DENIED)
    assert batch.pause_reason is PauseReason.RELAY_REFUSES_SENDER


async def test_once_a_message_was_accepted_the_same_refusal_is_about_the_recipient() -> None:
    batch = active_batch(waiting(1), waiting(2))
    assert batch.result(marked(waiting(1)), ACCEPTED).status is SendStatus.DELIVERED
    result = batch.result(marked(waiting(2)), DENIED)
    assert (result.status, result.reason) == (SendStatus.FAILED, FailReason.REJECTED)
    assert batch.pause_reason is None


async def test_a_send_that_was_not_started_waits_again() -> None:
    batch = active_batch(waiting(1))
    assert batch.not_started(marked(waiting(1))).status is SendStatus.QUEUED
    assert batch.result(marked(waiting(1)), NOT_BEGUN).status is SendStatus.QUEUED
