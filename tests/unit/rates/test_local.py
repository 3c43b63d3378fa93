"""The limits of one process, without Redis, with a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketing_service.ports import Rate
from marketing_service.rates.local import LocalWindows
from tests.support.clock import Clock

PER_SECOND, PER_MINUTE = Rate(3, 1), Rate(5, 60)


def test_every_rate_must_allow_it_and_a_refused_request_is_not_counted() -> None:
    clock = Clock()
    windows = LocalWindows(clock=clock)
    rates = (PER_SECOND, PER_MINUTE)
    assert [windows.take("a", rates, 1).allowed for _ in range(5)] == [True] * 3 + [False] * 2
    clock.now += 1.1
    assert [windows.take("a", rates, 1).allowed for _ in range(3)] == [True, True, False]
    assert windows.take("b", rates, 1).allowed, "another key has its own window"


def test_it_takes_all_or_nothing_and_says_what_is_left() -> None:
    windows = LocalWindows(clock=Clock())
    assert [quota.left for quota in windows.take("a", [PER_MINUTE], 3).quotas] == [2]
    refused = windows.take("a", [PER_MINUTE], 3)
    assert (refused.allowed, refused.quotas[0].left) == (False, 2)
    assert windows.take("a", [PER_MINUTE], 2).allowed


@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 5)), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_after_the_wait_it_is_allowed_and_not_before(calls: list[tuple[float, int]], wanted: int) -> None:
    clock = Clock()
    windows = LocalWindows(clock=clock)
    for pause, count in calls:
        clock.now += pause
        windows.take("a", [PER_MINUTE], count)
    verdict = windows.take("a", [PER_MINUTE], wanted)
    while not verdict.allowed:
        wait = verdict.wait
        assert 0 < wait <= 60 * 33 / 32
        clock.now += wait - 0.01
        early = windows.take("a", [PER_MINUTE], wanted)
        assert not early.allowed
        clock.now += 0.01 + 1e-6
        verdict = windows.take("a", [PER_MINUTE], wanted)
        assert verdict.allowed


def test_the_memory_is_bounded_and_the_key_in_use_stays() -> None:
    windows = LocalWindows(max_keys=100, clock=Clock())
    for number in range(1000):
        windows.take("mine", [PER_MINUTE], 1)
        windows.take(f"key {number}", [PER_MINUTE], 1)
    assert len(windows) == 100
    assert not windows.take("mine", [PER_MINUTE], 1).allowed
