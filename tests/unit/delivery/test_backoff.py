"""How long the relay is left alone."""

from __future__ import annotations

from marketing_service.delivery.backoff import Backoff
from marketing_service.ports import RelayDown
from marketing_service.replies import Phase, Reply

DOWN = RelayDown(Phase.AUTH, "535 5.7.8 no")
BYE = Reply.of(421, "4.7.0 <bob@example.com> slow down")


def test_it_doubles_up_to_half_a_minute_and_forgets_at_a_success() -> None:
    backoff, now, pauses = Backoff(), 100.0, []
    for _ in range(9):
        backoff.refused(DOWN, tried_at=now, now=now)
        pauses.append(backoff.remaining(now))
        now += pauses[-1]
        assert backoff.remaining(now) == 0
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backoff.opened(tried_at=now)
    backoff.refused(DOWN, tried_at=now, now=now)
    assert backoff.remaining(now) == 0.5


def test_attempts_that_fail_together_count_as_one() -> None:
    backoff = Backoff()
    for _ in range(20):
        backoff.refused(DOWN, tried_at=100.0, now=101.0)
    assert backoff.remaining(101.0) == 0.5


def test_an_attempt_older_than_the_failure_does_not_end_the_pause() -> None:
    backoff = Backoff()
    backoff.refused(DOWN, tried_at=100.0, now=101.0)
    backoff.opened(tried_at=100.5)
    assert backoff.remaining(101.0) == 0.5


def test_a_421_is_repeated_by_its_codes_alone() -> None:
    backoff = Backoff()
    backoff.dismissed(BYE, useful=True, now=100.0)
    assert backoff.is_dismissal
    assert (backoff.down().phase, backoff.down().detail) == (Phase.MAIL, "the relay ended the conversation (421 4.7.0)")


def test_421s_grow_until_a_conversation_is_of_use_again() -> None:
    backoff, now, pauses = Backoff(), 100.0, []
    for useful in (True, False, False, True):
        backoff.dismissed(BYE, useful=useful, now=now)
        backoff.dismissed(BYE, useful=useful, now=now)  # another connection's, at the same time
        pauses.append(backoff.remaining(now))
        now += pauses[-1]
        backoff.opened(tried_at=now)
    assert pauses == [0.5, 1, 2, 0.5]
