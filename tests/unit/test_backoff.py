"""The one rule for how long to wait after repeated failures."""

from __future__ import annotations

from marketing_service.backoff import ExponentialBackoff


def test_the_delay_doubles_up_to_the_maximum() -> None:
    backoff = ExponentialBackoff(first=0.5, maximum=5.0)
    assert [backoff.delay(failures) for failures in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_any_number_of_failures_has_a_delay() -> None:
    backoff = ExponentialBackoff(first=1.0, maximum=60.0)
    assert backoff.delay(0) == 1.0
    assert backoff.delay(10**9) == 60.0
