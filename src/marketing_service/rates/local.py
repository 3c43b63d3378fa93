"""The sliding windows of rates/window.py in the memory of one process, for the time when Redis does not answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.ports import Quota, Verdict
from marketing_service.rates.window import SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marketing_service.ports import Rate

MAX_KEYS = 10_000
"""The number of windows that are kept, each of about 3 KB at most. The window that was used least recently goes
first."""


class _Window(NamedTuple):
    """One rate of one key: the current slice, and the counts of the slices that still matter, oldest first."""

    current: int
    counts: dict[int, int]
    used: int


class LocalWindows:
    """Counts as the script in rates/window.py does. `clock` gives seconds and never goes back."""

    def __init__(self, *, max_keys: int = MAX_KEYS, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._windows: OrderedDict[tuple[str, int], dict[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, key: str, rates: Sequence[Rate], wanted: int) -> Verdict:
        """See RequestLimiter."""
        now = self._clock()
        windows = [self._window(key, rate, now) for rate in rates]
        left = [max(0, rate.messages - window.used) for rate, window in zip(rates, windows, strict=True)]
        allowed = all(free >= wanted for free in left)
        quotas = []
        wait = 0.0
        for rate, window, free in zip(rates, windows, left, strict=True):
            oldest = next(iter(window.counts), window.current)
            quotas.append(Quota(rate, free - wanted if allowed else free, _end(oldest, rate) - now))
            if free < wanted:
                wait = max(wait, _free_at(window, rate, wanted) - now)
            if allowed:
                window.counts[window.current] = window.counts.get(window.current, 0) + wanted
        return Verdict(allowed, wait, tuple(quotas))

    def clear(self) -> None:
        """Forget everything."""
        self._windows.clear()

    def _window(self, key: str, rate: Rate, now: float) -> _Window:
        """The window of this key and rate, without the slices that no longer count."""
        current = int(now * SLICES / rate.seconds)
        old = self._windows.pop((key, rate.seconds), {})
        counts = {slice_: count for slice_, count in old.items() if slice_ >= current - SLICES}
        self._windows[key, rate.seconds] = counts
        while len(self._windows) > self._max_keys:
            self._windows.popitem(last=False)
        return _Window(current, counts, sum(counts.values()))


def _end(slice_: int, rate: Rate) -> float:
    """The time from which the slice no longer counts."""
    return (slice_ + SLICES + 1) * rate.seconds / SLICES


def _free_at(window: _Window, rate: Rate, wanted: int) -> float:
    """The time from which `wanted` fit into the window again."""
    free = rate.messages - window.used
    end = 0.0
    for slice_, count in window.counts.items():
        if free >= wanted:
            break
        free += count
        end = _end(slice_, rate)
    return end
