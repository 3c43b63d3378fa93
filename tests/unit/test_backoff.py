"""The delay after repeated failures."""

from __future__ import annotations

from marketing_service.backoff import ExponentialBackoff


def test_the_delay_doubles_up_to_the_maximum() -> None:
    backoff = ExponentialBackoff(first=0.5, maximum=5.0)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_any_number_of_failures_has_a_delay() -> None:
    backoff = ExponentialBackoff(first=1.0, maximum=60.0)
    assert backoff.delay(0) == 1.0
    assert backoff.delay(10**9) == 60.0


def test_the_delay_by_elapsed_time_is_the_elapsed_time_within_the_limits() -> None:
    backoff = ExponentialBackoff(first=1.0, maximum=60.0)
    assert [backoff.delay_after(elapsed) for elapsed in (-5.0, 0.0, 1.5, 59.0, 3600.0)] == [1.0, 1.0, 1.5, 59.0, 60.0]


def test_jitter_makes_its_share_of_the_delay_random() -> None:
    backoff = ExponentialBackoff(first=1.0, maximum=8.0, jitter=0.5)
    for failures, longest in ((1, 1.0), (3, 4.0), (10, 8.0)):
        delays = {backoff.delay(failures) for _ in range(200)}
        assert longest * 0.5 <= min(delays) < max(delays) <= longest
    assert len({backoff.delay_after(4.0) for _ in range(200)}) > 1
