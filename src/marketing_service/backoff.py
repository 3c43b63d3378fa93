"""Exponential back-off: the one rule for how long to wait after repeated failures."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MAX_EXPONENT = 32
"""The largest exponent that is computed: it keeps the power of two finite, however many failures are counted."""


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """Delays that start at `first` seconds, double with each failure in a row, and never exceed `maximum` seconds.

    `jitter` is the share of each delay that is random, from 0 (none) to 1 (all of it). With jitter, callers that failed
    at the same moment do not all try again at the same moment.
    """

    first: float
    maximum: float
    jitter: float = 0.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row, counted from 1."""
        return self._randomized(self.first * 2.0 ** min(max(failures, 1) - 1, _MAX_EXPONENT))

    def delay_after(self, elapsed: float) -> float:
        """Seconds to wait when the failures started `elapsed` seconds ago.

        The wait is as long as the time that has passed. So the time doubles with each try, as it does with `delay`. Use
        this method where no counter of the failures exists.
        """
        return self._randomized(max(elapsed, self.first))

    def _randomized(self, seconds: float) -> float:
        seconds = min(seconds, self.maximum)
        return seconds * random.uniform(1.0 - self.jitter, 1.0) if self.jitter else seconds  # noqa: S311 - not a secret
