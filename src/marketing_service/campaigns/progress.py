"""The live progress of a campaign: its stats, the rate of the sending, the time left, whether the sending stalls."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.store.states import CampaignStatus
from marketing_service.store.timeline import last_delivery

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from marketing_service.db import Transaction
    from marketing_service.store.campaigns import StatsSnapshot

RATE_SECONDS = 10.0
"""The rate is the mean over so many seconds."""
STALL_SECONDS = 30.0
"""If sends wait and nothing happens for so long, the sending stalls."""

_FINAL = frozenset({CampaignStatus.SENT, CampaignStatus.FAILED})
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """The stats of a campaign, and what several of them in a row tell. What is not known is None.

    `rate_per_second` counts sends with an outcome: DELIVERED, FAILED or UNCONFIRMED. `seconds_left` is the time until
    every send that waits now has had its try at this rate; the further tries of DEFERRED sends are not included.
    `stalled_since` is the time of the last outcome.
    """

    snapshot: StatsSnapshot
    rate_per_second: float | None = None
    seconds_left: int | None = None
    stalled_since: datetime | None = None

    @property
    def is_final(self) -> bool:
        """Whether the sending has ended. A resend starts it again."""
        return self.snapshot.status in _FINAL


@dataclass(frozen=True, slots=True)
class _Sample:
    seconds: float
    recipients: int
    outcomes: int


class ProgressMeter:
    """Derives the progress of one campaign from its stats, which are read again and again."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._fetched: int | None = None
        self._last_change = 0.0
        self._last_outcome: datetime | None = None

    def add(self, snapshot: StatsSnapshot, *, seconds: float, now: datetime, delivered_at: datetime | None) -> Progress:
        """The progress with these stats. `seconds` is the time by a clock that never jumps. `delivered_at` is the
        minute of the last delivery; only that of the first call is used, because later ones are seen here."""
        self._note_change(snapshot, seconds, now, delivered_at)
        rate = self._rate()
        return Progress(snapshot, rate, _seconds_left(snapshot, rate), self._stalled_since(snapshot, seconds))

    def _note_change(
        self, snapshot: StatsSnapshot, seconds: float, now: datetime, delivered_at: datetime | None
    ) -> None:
        stats = snapshot.stats
        sample = _Sample(seconds, stats.recipients, stats.delivered + stats.failed + stats.unconfirmed)
        last = self._samples[-1] if self._samples else None
        if last is None:
            self._last_change, self._last_outcome = seconds, _last_known(snapshot, now, delivered_at)
        elif (last.recipients, last.outcomes, self._fetched) != (
            sample.recipients,
            sample.outcomes,
            snapshot.contacts_fetched,
        ):
            self._last_change, self._last_outcome = seconds, now
        if last is not None and (sample.recipients != last.recipients or sample.outcomes < last.outcomes):
            # The recipient list is new, or sends are sent again: the difference is no work of the relay.
            self._samples.clear()
        self._fetched = snapshot.contacts_fetched
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].seconds <= seconds - RATE_SECONDS:  # noqa: PLR2004 - the ends
            self._samples.popleft()

    def _rate(self) -> float | None:
        first, last = self._samples[0], self._samples[-1]
        passed = last.seconds - first.seconds
        return None if passed <= 0 or last.recipients == 0 else (last.outcomes - first.outcomes) / passed

    def _stalled_since(self, snapshot: StatsSnapshot, seconds: float) -> datetime | None:
        stats = snapshot.stats
        waiting = snapshot.contacts_fetched is not None or stats.queued + stats.sending > 0
        sending = snapshot.status is CampaignStatus.SENDING and snapshot.paused_at is None
        return self._last_outcome if sending and waiting and seconds - self._last_change >= STALL_SECONDS else None


def _last_known(snapshot: StatsSnapshot, now: datetime, delivered_at: datetime | None) -> datetime | None:
    """The time of the last outcome before the first sample, to a minute: its launch if nothing is delivered yet."""
    known = [snapshot.launched_at, None if delivered_at is None else min(delivered_at + _MINUTE, now)]
    return max((at for at in known if at is not None), default=None)


def _seconds_left(snapshot: StatsSnapshot, rate: float | None) -> int | None:
    waiting = snapshot.stats.queued + snapshot.stats.sending
    if snapshot.status is not CampaignStatus.SENDING or snapshot.paused_at is not None or not rate or not waiting:
        return None
    return math.ceil(waiting / rate)


async def read(
    tx: Transaction, org_id: str, campaign_id: UUID, *, first: bool
) -> tuple[StatsSnapshot, datetime | None]:
    """The stats of the campaign; with `first`, also the minute of the last delivery while it is SENDING. Raises
    NotFound."""
    snapshot = await drafts.stats(tx, org_id, campaign_id)
    if not first or snapshot.status is not CampaignStatus.SENDING:
        return snapshot, None
    return snapshot, await last_delivery(tx.connection, campaign_id)
