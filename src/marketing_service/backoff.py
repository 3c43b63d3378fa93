"""Exponential back-off: the one rule for how long to wait after repeated failures."""

from __future__ import annotations

from dataclasses import dataclass

_MAX_EXPONENT = 32
"""Beyond this the power of two is larger than any maximum; a counter of failures may grow without a limit."""


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Waits `first` seconds after the first failure, doubles with each further failure, and never exceeds `maximum`."""

    first: float
    maximum: float

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row, counted from 1."""
        return min(self.first * 2.0 ** min(max(failures, 1) - 1, _MAX_EXPONENT), self.maximum)
