"""The retry policy, as a table: what each submission means for its send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from marketing_service.sending.retries import MAX_LOSSES, RetryPolicy
from marketing_service.store.states import FailReason, SendStatus
from tests.support.engine import ACCEPTED, LOST, NOT_BEGUN, UNKNOWN, marked, refused, waiting

if TYPE_CHECKING:
    from marketing_service.ports import Submission

POLICY = RetryPolicy((60.0, 300.0))
GREYLISTED = refused(451, "4.7.1 Greylisted")
NO_SUCH_USER = refused(550, "5.1.1 No such user")


@pytest.mark.parametrize(
    ("submission", "tries", "losses", "status", "reason", "delay"),
    [
        (ACCEPTED, 1, 0, SendStatus.DELIVERED, None, None),
        (UNKNOWN, 1, 0, SendStatus.UNCONFIRMED, None, 60.0),
        (UNKNOWN, 2, 0, SendStatus.UNCONFIRMED, None, 300.0),
        (UNKNOWN, 3, 0, SendStatus.UNCONFIRMED, None, None),
        (NOT_BEGUN, 3, 0, SendStatus.QUEUED, None, None),
        (LOST, 1, 1, SendStatus.QUEUED, None, None),
        (LOST, 1, MAX_LOSSES - 1, SendStatus.QUEUED, None, None),
        (LOST, 1, MAX_LOSSES, SendStatus.DEFERRED, None, 60.0),
        (LOST, 3, MAX_LOSSES, SendStatus.FAILED, FailReason.DEFERRED_TOO_OFTEN, None),
        (GREYLISTED, 1, 0, SendStatus.DEFERRED, None, 60.0),
        (GREYLISTED, 2, 0, SendStatus.DEFERRED, None, 300.0),
        (GREYLISTED, 3, 0, SendStatus.FAILED, FailReason.DEFERRED_TOO_OFTEN, None),
        (NO_SUCH_USER, 1, 0, SendStatus.FAILED, FailReason.REJECTED, None),
        (NO_SUCH_USER, 3, 0, SendStatus.FAILED, FailReason.REJECTED, None),
    ],
)
def test_the_policy_table(
    submission: Submission, tries: int, losses: int, status: SendStatus, reason: FailReason | None, delay: float | None
) -> None:
    result = POLICY.result(marked(waiting(1), tries=tries), submission, losses=losses)
    assert (result.status, result.reason, result.delay) == (status, reason, delay)


def test_a_refusal_is_recorded_with_the_relays_own_words() -> None:
    result = POLICY.result(marked(waiting(1), attempt=7), NO_SUCH_USER, losses=0)
    assert (result.attempt, result.smtp_code, result.enhanced_code, result.message) == (
        7, 550, "5.1.1", "5.1.1 No such user",
    )  # fmt: skip


def test_without_delays_the_first_deferral_is_the_last_try() -> None:
    result = RetryPolicy(()).result(marked(waiting(1)), GREYLISTED, losses=0)
    assert (result.status, result.reason) == (SendStatus.FAILED, FailReason.DEFERRED_TOO_OFTEN)
