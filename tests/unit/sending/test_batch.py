"""One active batch: which send is next, when it is finished, and what a submission means for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.relay_capacity import DECREASE_INTERVAL, RelayCapacity
from marketing_service.replies import Phase, Scope
from marketing_service.sending.batch import MAX_RELAY_REFUSALS, MAX_SENDER_REFUSALS, MAX_STALLED_SECONDS
from marketing_service.sending.throttle import MAX_CONSECUTIVE_DEFERRALS, DomainThrottle
from marketing_service.store.states import FailReason, SendStatus
from tests.support.clock import Clock
from tests.support.engine import ACCEPTED, NOT_BEGUN, active_batch, marked, refused, waiting

if TYPE_CHECKING:
    from marketing_service.ports import Submission

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
    result = batch.result(marked(waiting(1)), refused(550, "5.7.1 Sender rejected", Phase.MAIL), Scope.SENDER)
    assert result.status is SendStatus.QUEUED
    assert batch.pause_reason is PauseReason.RELAY_REFUSES_SENDER
    assert batch.waiting == 0


async def test_after_rcpt_several_recipients_must_be_refused_before_the_campaign_pauses() -> None:
    sends = [waiting(number) for number in range(MAX_SENDER_REFUSALS + 1)]
    batch = active_batch(*sends)
    for send in sends[: MAX_SENDER_REFUSALS - 1]:
        assert batch.result(marked(send), DENIED, Scope.SENDER).status is SendStatus.QUEUED
        assert batch.pause_reason is None
    batch.result(marked(sends[MAX_SENDER_REFUSALS - 1]), DENIED, Scope.SENDER)
    assert batch.pause_reason is PauseReason.RELAY_REFUSES_SENDER


async def test_once_a_message_was_accepted_the_same_refusal_is_about_the_recipient() -> None:
    batch = active_batch(waiting(1), waiting(2))
    assert batch.result(marked(waiting(1)), ACCEPTED).status is SendStatus.DELIVERED
    result = batch.result(marked(waiting(2)), DENIED, Scope.SENDER)
    assert (result.status, result.reason) == (SendStatus.FAILED, FailReason.REJECTED)
    assert batch.pause_reason is None


async def test_a_send_that_was_not_started_waits_again() -> None:
    batch = active_batch(waiting(1))
    assert batch.not_started(marked(waiting(1))).status is SendStatus.QUEUED
    assert batch.result(marked(waiting(1)), NOT_BEGUN).status is SendStatus.QUEUED


@pytest.mark.parametrize("scope", [Scope.RELAY, Scope.CONNECTION])
async def test_a_refusal_that_is_not_about_the_recipient_uses_up_no_try(scope: Scope) -> None:
    batch = active_batch(waiting(1), delays=())
    for _ in range(50):
        result = batch.result(marked(waiting(1)), refused(450, "4.7.1 Error: too much mail", Phase.MAIL), scope)
        assert result.status is SendStatus.QUEUED
    assert batch.pause_reason is None


THROTTLED = refused(451, "4.7.1 Rate limit exceeded", Phase.DOT)


async def test_a_send_that_the_relay_refuses_while_it_accepts_others_uses_up_a_try_in_the_end() -> None:
    clock = Clock()
    capacity = RelayCapacity(20, clock=clock)
    batch = active_batch(waiting(1), capacity=capacity)
    found = []
    for _ in range(MAX_RELAY_REFUSALS):
        clock.now += DECREASE_INTERVAL
        capacity.refused()
        found.append(batch.result(marked(waiting(1)), THROTTLED, Scope.RELAY).status)
        capacity.accepted()
    assert found == [SendStatus.QUEUED] * (MAX_RELAY_REFUSALS - 1) + [SendStatus.DEFERRED]


async def test_refusals_of_a_send_while_the_relay_refuses_many_count_once() -> None:
    """The relay accepts others in between, within the second that makes its refusals one event."""
    capacity = RelayCapacity(20, clock=lambda: 0.0)
    batch = active_batch(waiting(1), capacity=capacity, delays=())
    for _ in range(50):
        capacity.refused()
        assert batch.result(marked(waiting(1)), THROTTLED, Scope.RELAY).status is SendStatus.QUEUED
        capacity.accepted()


async def test_a_send_that_waits_for_the_relays_hourly_limit_uses_up_no_try() -> None:
    capacity = RelayCapacity(20, clock=lambda: 0.0)
    batch = active_batch(waiting(1), capacity=capacity, delays=())
    capacity.accepted()
    for _ in range(50):
        assert batch.result(marked(waiting(1)), THROTTLED, Scope.RELAY).status is SendStatus.QUEUED


async def test_a_send_that_the_relay_refused_is_taken_after_the_others() -> None:
    batch = active_batch(waiting(1), waiting(2))
    send = batch.take()
    assert send == waiting(1)
    batch.result(marked(send), THROTTLED, Scope.RELAY)
    batch.settle(send.id, waits_again=True)
    assert batch.take() == waiting(2)
    assert batch.take() is None
    assert batch.waiting == 1
    assert batch.take(last=True) == waiting(1)
    batch.put_back(send)
    assert batch.take(last=True) == waiting(1), "put back, it is still the last"


async def test_a_relay_that_accepts_nothing_for_minutes_pauses_the_campaign() -> None:
    now = 0.0
    capacity = RelayCapacity(20, clock=lambda: now)
    throttle = DomainThrottle(first_backoff=10.0, clock=lambda: now)
    batch = active_batch(waiting(1), waiting(2), capacity=capacity, throttle=throttle)
    for _ in range(MAX_RELAY_REFUSALS):
        capacity.refused()
        assert batch.result(marked(waiting(1)), THROTTLED, Scope.RELAY).status is SendStatus.QUEUED
    now = MAX_STALLED_SECONDS + 1
    assert batch.result(marked(waiting(2)), THROTTLED, Scope.RELAY).status is SendStatus.QUEUED
    assert (batch.pause_reason, batch.pause_message) == (PauseReason.RELAY_BUSY, "4.7.1 Rate limit exceeded")
    last = batch.result(marked(waiting(1)), THROTTLED, Scope.RELAY)
    assert last.status is SendStatus.DEFERRED, "refused so often, it may be about this send"

    later = active_batch(waiting(3), capacity=capacity, throttle=throttle)
    later.result(marked(waiting(3)), THROTTLED, Scope.RELAY)
    assert later.pause_reason is None, "a batch that has just started gives the relay as long"


@pytest.mark.parametrize(
    ("scope", "submission", "reason"),
    [
        (Scope.ACCOUNT, refused(454, "Throttling failure: Daily message quota exceeded.", Phase.DOT), "RELAY_QUOTA"),
        (Scope.MESSAGE, refused(552, "5.3.4 Message size exceeds fixed limit", Phase.MAIL), "MESSAGE_TOO_LARGE"),
        (Scope.SENDER, refused(530, "5.7.0 Authentication required", Phase.MAIL), "RELAY_LOGIN_REFUSED"),
        (Scope.SENDER, refused(450, "4.1.8 Sender address rejected", Phase.MAIL), "RELAY_REFUSES_SENDER"),
    ],
)
async def test_the_campaign_pauses_with_its_reason_and_the_relays_words(
    scope: Scope, submission: Submission, reason: str
) -> None:
    batch = active_batch(waiting(1), waiting(2))
    assert batch.result(marked(waiting(1)), submission, scope).status is SendStatus.QUEUED
    assert submission.reply is not None
    assert (batch.pause_reason, batch.pause_message) == (reason, submission.reply.text)
    assert batch.waiting == 0
