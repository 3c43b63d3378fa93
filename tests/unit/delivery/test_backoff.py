"""The back-off after the relay refused a connection or ended a session."""

from __future__ import annotations

from marketing_service.delivery.backoff import RelayBackoff
from marketing_service.ports import RelayDown
from marketing_service.replies import Phase, Reply

DOWN = RelayDown(Phase.AUTH, "535 5.7.8 no")
BYE = Reply.of(421, "4.7.0 <bob@example.com> slow down")


def test_it_doubles_up_to_30_seconds_and_starts_again_after_a_success() -> None:
    backoff, now, pauses = RelayBackoff(), 100.0, []
    for _ in range(9):
        backoff.attempt_failed(DOWN, tried_at=now, now=now)
        pauses.append(backoff.remaining(now))
        now += pauses[-1]
        assert backoff.remaining(now) == 0
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backoff.attempt_succeeded(tried_at=now)
    backoff.attempt_failed(DOWN, tried_at=now, now=now)
    assert backoff.remaining(now) == 0.5


def test_attempts_that_fail_together_count_as_one() -> None:
    backoff = RelayBackoff()
    for _ in range(20):
        backoff.attempt_failed(DOWN, tried_at=100.0, now=101.0)
    assert backoff.remaining(101.0) == 0.5


def test_an_attempt_older_than_the_failure_does_not_end_the_back_off() -> None:
    backoff = RelayBackoff()
    backoff.attempt_failed(DOWN, tried_at=100.0, now=101.0)
    backoff.attempt_succeeded(tried_at=100.5)
    assert backoff.remaining(101.0) == 0.5


def test_a_421_is_described_by_its_codes_only() -> None:
    backoff = RelayBackoff()
    backoff.session_ended(BYE, accepted_any=False, now=100.0)
    assert backoff.ended_with_421
    assert (backoff.last_failure().phase, backoff.last_failure().detail) == (
        Phase.MAIL,
        "the relay ended the session (421 4.7.0)",
    )


def test_after_421s_the_back_off_grows_until_a_session_accepts_a_message() -> None:
    backoff, now, pauses = RelayBackoff(), 100.0, []
    for accepted_any in (True, False, False, True):
        backoff.session_ended(BYE, accepted_any=accepted_any, now=now)
        backoff.session_ended(BYE, accepted_any=accepted_any, now=now)  # another connection's, at the same time
        pauses.append(backoff.remaining(now))
        now += pauses[-1]
        backoff.attempt_succeeded(tried_at=now)
    assert pauses == [0.0, 0.5, 1, 0.0]
