"""Costly messages take at most half of the time of a worker's event loop. The other campaigns keep the other half."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

COSTLY_SECONDS = 0.001
"""A message that takes more processor time to render is costly. A message without loops takes a tenth of this."""


class RenderPacing:
    """The pace of all campaigns of one process that have costly messages.

    After a costly message, no other costly message is rendered for as long as the first one took. The template's budget
    bounds this time (see `rendering/budget.py`).
    """

    def __init__(
        self, now: Callable[[], float] = time.perf_counter, used: Callable[[], float] = time.thread_time
    ) -> None:
        """`now`: the clock. `used`: the processor time of this thread, which other programs do not make longer."""
        self._now = now
        self._used = used
        self._free_at = 0.0

    async def turn(self) -> None:
        """Wait until a costly message may be rendered."""
        while (seconds := self._free_at - self._now()) > 0:  # noqa: ASYNC110 - the end moves while it waits
            await asyncio.sleep(seconds)

    def started(self) -> tuple[float, float]:
        """The rendering of one message begins. `ended` takes the returned value."""
        return self._now(), self._used()

    def ended(self, campaign: CampaignPace, started: tuple[float, float]) -> None:
        """The rendering of the message has ended, with or without an error."""
        campaign.is_costly = self._used() - started[1] > COSTLY_SECONDS
        if campaign.is_costly:
            now = self._now()
            self._free_at = now + (now - started[0])


class CampaignPace:
    """Whether the last message of one campaign was costly. Then its next message waits for its turn."""

    def __init__(self) -> None:
        self.is_costly = False
