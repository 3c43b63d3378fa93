"""A domain's rest: when it begins, how it grows, and how it heals."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from marketing_service.ports import Submission, SubmissionOutcome
from marketing_service.replies import Phase, Reply
from marketing_service.sending.throttle import IN_A_ROW, DomainThrottle, asks_for_less


@dataclass
class Clock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def domains(clock: Clock) -> DomainThrottle:
    return DomainThrottle(first_backoff=10, clock=clock)


def postponed(domains: DomainThrottle, times: int = IN_A_ROW) -> list[float | None]:
    return [domains.postponed(f"p{number}@slow.example", begun=domains.now()) for number in range(times)]


def test_a_rest_begins_with_the_fifth_in_a_row_and_for_that_domain_alone(domains: DomainThrottle) -> None:
    assert postponed(domains, IN_A_ROW - 1) == [None] * (IN_A_ROW - 1)
    assert domains.postpone_sends("a@slow.example") is None
    assert postponed(domains, 1) == [10]
    assert domains.postpone_sends("a@SLOW.example ") is not None
    assert domains.postpone_sends("a@other.example") is None


def test_one_that_is_taken_in_between_makes_the_row_begin_anew(domains: DomainThrottle) -> None:
    for _ in range(10):
        assert postponed(domains, IN_A_ROW - 1) == [None] * (IN_A_ROW - 1)
        domains.taken("a@slow.example", begun=domains.now())
    assert domains.postpone_sends("a@slow.example") is None


def test_those_held_back_come_due_after_the_rest_one_after_the_other(domains: DomainThrottle) -> None:
    postponed(domains)
    waits = [domains.postpone_sends("a@slow.example") or 0.0 for _ in range(60)]
    assert min(waits) >= 10
    assert max(waits) <= 20
    assert len(set(waits)) == 60


def test_after_the_rest_one_probe_goes_and_the_others_wait_for_its_answer(
    domains: DomainThrottle, clock: Clock
) -> None:
    postponed(domains)
    clock.seconds += 10
    assert domains.postpone_sends("probe@slow.example") is None
    assert domains.postpone_sends("a@slow.example") is not None
    domains.taken("probe@slow.example", begun=clock.seconds)
    assert domains.postpone_sends("a@slow.example") is None


def test_a_probe_whose_answer_is_never_known_does_not_block_the_domain(domains: DomainThrottle, clock: Clock) -> None:
    postponed(domains)
    clock.seconds += 10
    assert domains.postpone_sends("probe@slow.example") is None
    clock.seconds += 10
    assert domains.postpone_sends("another@slow.example") is None


def test_each_probe_that_is_put_off_doubles_the_rest_up_to_sixty_times_the_first(
    domains: DomainThrottle, clock: Clock
) -> None:
    rests = postponed(domains)[-1:]
    for _ in range(8):
        clock.seconds += 1000
        assert domains.postpone_sends("probe@slow.example") is None
        rests += postponed(domains, 1)
    assert rests == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_what_was_on_its_way_when_the_rest_began_neither_prolongs_nor_ends_it(
    domains: DomainThrottle, clock: Clock
) -> None:
    begun = clock.seconds
    clock.seconds += 1
    postponed(domains)
    assert domains.postponed("late@slow.example", begun=begun) is None
    domains.taken("late@slow.example", begun=begun)
    assert domains.postpone_sends("a@slow.example") == pytest.approx(10, abs=1)


def test_it_heals_a_step_with_each_message_that_is_taken(domains: DomainThrottle, clock: Clock) -> None:
    postponed(domains)
    for _ in range(2):
        clock.seconds += 1000
        domains.postpone_sends("probe@slow.example")
        postponed(domains, 1)
    clock.seconds += 1000
    domains.postpone_sends("probe@slow.example")
    domains.taken("probe@slow.example", begun=clock.seconds)
    assert postponed(domains)[-1] == 40, "two steps up are left of three"
    clock.seconds += 1000
    domains.postpone_sends("probe@slow.example")
    for _ in range(3):
        domains.taken("a@slow.example", begun=clock.seconds)
    assert postponed(domains)[-1] == 10, "forgotten"


def test_what_is_remembered_is_bounded(domains: DomainThrottle) -> None:
    for number in range(10_001):
        domains.postponed(f"a@d{number}.example", begun=domains.now())
    assert len(domains._domains) == 10_000


@pytest.mark.parametrize(
    ("code", "text", "phase", "expected"),
    [
        (421, "4.7.0 Try again later, closing connection", Phase.RCPT, True),
        (421, "Service not available", Phase.DOT, True),
        (450, "4.7.1 Rate limited", Phase.RCPT, True),
        (451, "Temporary local problem", Phase.DOT, True),
        (452, "4.3.1 Insufficient system storage", Phase.DATA, True),
        (452, "4.2.2 Mailbox full", Phase.RCPT, False),
        (450, "4.2.0 Greylisted", Phase.RCPT, False),
        (450, "4.1.2 Domain not found", Phase.RCPT, False),
        (550, "5.7.1 Blocked", Phase.RCPT, False),
        (421, "4.7.0 Too many connections", Phase.MAIL, False),
        (432, "4.7.12 A password transition is needed", Phase.DOT, False),
    ],
)
def test_which_refusals_speak_of_the_domain(code: int, text: str, phase: Phase, expected: bool) -> None:
    assert asks_for_less(Submission(SubmissionOutcome.REFUSED, phase, Reply.of(code, text))) is expected


def test_an_accepted_and_a_lost_message_say_nothing_of_the_kind() -> None:
    assert not asks_for_less(Submission(SubmissionOutcome.ACCEPTED, Phase.DOT, Reply.of(250, "Ok")))
    assert not asks_for_less(Submission(SubmissionOutcome.LOST, Phase.RCPT, detail="hung up"))
