"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """Called as `time.monotonic`. It stands until the test changes `now`, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
