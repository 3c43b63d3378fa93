"""The back-off of a receiving domain: when it starts, how it grows, and how it ends."""

from __future__ import annotations

import pytest

from marketing_service.ports import Submission, SubmissionOutcome
from marketing_service.replies import Phase, Reply
from marketing_service.sending.throttle import MAX_CONSECUTIVE_DEFERRALS, DomainThrottle, backs_off_domain
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> DomainThrottle:
    return DomainThrottle(first_backoff=10, clock=clock)


def defer(throttle: DomainThrottle, times: int = MAX_CONSECUTIVE_DEFERRALS) -> list[float | None]:
    return [throttle.deferred(f"p{number}@slow.example", started=throttle.now()) for number in range(times)]


def test_a_backoff_starts_with_the_fifth_consecutive_deferral_of_one_domain(
    throttle: DomainThrottle,
) -> None:
    assert defer(throttle, MAX_CONSECUTIVE_DEFERRALS - 1) == [None] * (MAX_CONSECUTIVE_DEFERRALS - 1)
    assert throttle.delay_for("a@slow.example") is None
    assert defer(throttle, 1) == [10]
    assert throttle.delay_for("a@SLOW.example ") is not None
    assert throttle.delay_for("a@other.example") is None


def test_an_accepted_message_resets_the_count_of_deferrals(throttle: DomainThrottle) -> None:
    for _ in range(10):
        assert defer(throttle, MAX_CONSECUTIVE_DEFERRALS - 1) == [None] * (MAX_CONSECUTIVE_DEFERRALS - 1)
        throttle.accepted("a@slow.example", started=throttle.now())
    assert throttle.delay_for("a@slow.example") is None


def test_postponed_sends_become_due_after_the_backoff_at_different_times(throttle: DomainThrottle) -> None:
    defer(throttle)
    waits = [throttle.delay_for("a@slow.example") or 0.0 for _ in range(60)]
    assert min(waits) >= 10
    assert max(waits) <= 20
    assert len(set(waits)) == 60


def test_after_the_backoff_one_probe_goes_and_the_others_wait_for_its_reply(
    throttle: DomainThrottle, clock: Clock
) -> None:
    defer(throttle)
    clock.now += 10
    assert throttle.delay_for("probe@slow.example") is None
    assert throttle.delay_for("a@slow.example") is not None
    throttle.accepted("probe@slow.example", started=clock.now)
    assert throttle.delay_for("a@slow.example") is None


def test_a_probe_without_a_known_reply_does_not_block_the_domain(throttle: DomainThrottle, clock: Clock) -> None:
    defer(throttle)
    clock.now += 10
    assert throttle.delay_for("probe@slow.example") is None
    clock.now += 10
    assert throttle.delay_for("another@slow.example") is None


def test_each_deferred_probe_doubles_the_backoff_up_to_sixty_times_the_first(
    throttle: DomainThrottle, clock: Clock
) -> None:
    backoffs = defer(throttle)[-1:]
    for _ in range(8):
        clock.now += 1000
        assert throttle.delay_for("probe@slow.example") is None
        backoffs += defer(throttle, 1)
    assert backoffs == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_messages_under_way_when_the_backoff_started_neither_extend_nor_end_it(
    throttle: DomainThrottle, clock: Clock
) -> None:
    started = clock.now
    clock.now += 1
    defer(throttle)
    assert throttle.deferred("late@slow.example", started=started) is None
    throttle.accepted("late@slow.example", started=started)
    assert throttle.delay_for("a@slow.example") == pytest.approx(10, abs=1)


def test_each_accepted_message_lowers_the_level_by_one(throttle: DomainThrottle, clock: Clock) -> None:
    defer(throttle)
    for _ in range(2):
        clock.now += 1000
        throttle.delay_for("probe@slow.example")
        defer(throttle, 1)
    clock.now += 1000
    throttle.delay_for("probe@slow.example")
    throttle.accepted("probe@slow.example", started=clock.now)
    assert defer(throttle)[-1] == 40, "two steps up are left of three"
    clock.now += 1000
    throttle.delay_for("probe@slow.example")
    for _ in range(3):
        throttle.accepted("a@slow.example", started=clock.now)
    assert defer(throttle)[-1] == 10, "forgotten"


def test_the_number_of_domains_kept_is_bounded(throttle: DomainThrottle) -> None:
    for number in range(10_001):
        throttle.deferred(f"a@d{number}.example", started=throttle.now())
    assert throttle.domains_kept == 10_000


@pytest.mark.parametrize(
    ("code", "text", "phase", "expected"),
    [
        (451, "4.7.1 Server busy, try again later", Phase.RCPT, True),
        (421, "4.7.0 Try again later, closing connection", Phase.RCPT, True),
        (452, "4.2.2 Mailbox full", Phase.RCPT, False),
        (450, "4.2.0 Greylisted", Phase.RCPT, False),
        (550, "5.7.1 Blocked", Phase.RCPT, False),
        (421, "4.7.0 Too many connections", Phase.MAIL, False),
    ],
)
def test_which_refusals_back_off_the_domain(code: int, text: str, phase: Phase, expected: bool) -> None:
    assert backs_off_domain(Submission(SubmissionOutcome.REFUSED, phase, Reply.of(code, text))) is expected


def test_all_spellings_of_a_domain_back_off_together(throttle: DomainThrottle) -> None:
    for _ in range(MAX_CONSECUTIVE_DEFERRALS):
        throttle.deferred("a@bücher.example", started=throttle.now())
    assert throttle.delay_for("a@xn--bcher-kva.example") is not None
    assert throttle.delay_for("a@BU\u0308CHER.example") is not None
    assert throttle.domains_kept == 1
