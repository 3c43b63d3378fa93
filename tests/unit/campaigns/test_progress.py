"""The rate, the time left and the stall, from stats that are read again and again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from marketing_service.campaigns.progress import RATE_SECONDS, STALL_SECONDS, Progress, ProgressMeter
from marketing_service.store.campaigns import CampaignStats, StatsSnapshot
from marketing_service.store.states import CampaignStatus

LAUNCH = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
START = LAUNCH + timedelta(hours=1)
NOTHING = CampaignStats(**dict.fromkeys(CampaignStats.__dataclass_fields__, 0))


def stats(**counters: int) -> CampaignStats:
    states = ("queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed")
    return replace(NOTHING, recipients=sum(counters.get(state, 0) for state in states), **counters)


def snapshot(
    status: CampaignStatus = CampaignStatus.SENDING, fetched: int | None = None, **values: Any
) -> StatsSnapshot:
    paused_at = values.pop("paused_at", None)
    return StatsSnapshot(status, LAUNCH, stats(**values), fetched, None, paused_at)


def measure(
    *samples: tuple[float, StatsSnapshot], delivered_at: datetime | None = None, meter: ProgressMeter | None = None
) -> Progress:
    """The progress after the last of these samples, each with its second."""
    meter = meter or ProgressMeter()
    for seconds, taken in samples:
        now = START + timedelta(seconds=seconds)
        progress = meter.add(taken, seconds=seconds, now=now, delivered_at=delivered_at)
    return progress


def test_the_first_stats_tell_no_rate() -> None:
    progress = measure((0, snapshot(queued=10, delivered=5)))
    assert (progress.rate_per_second, progress.seconds_left) == (None, None)


def test_the_rate_counts_every_outcome_and_gives_the_time_left() -> None:
    progress = measure(
        (0, snapshot(queued=100)), (2, snapshot(queued=77, sending=3, delivered=14, failed=4, unconfirmed=2))
    )
    assert (progress.rate_per_second, progress.seconds_left) == (10, 8)


def test_deferred_sends_are_not_in_the_time_left() -> None:
    progress = measure((0, snapshot(queued=20)), (1, snapshot(deferred=10, delivered=10)))
    assert (progress.rate_per_second, progress.seconds_left) == (10, None)


def test_the_rate_is_of_the_last_seconds_only() -> None:
    samples = [(float(second), snapshot(queued=1000 - second, delivered=second)) for second in range(60)]
    fast = [(60.0 + second, snapshot(queued=940 - 20 * second, delivered=60 + 20 * second)) for second in range(11)]
    assert measure(*samples).rate_per_second == 1
    assert measure(*samples, *fast).rate_per_second == 20


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (snapshot(fetched=500), snapshot(queued=900, failed=100)),
        (snapshot(queued=10, delivered=90), snapshot(queued=60, delivered=40)),
    ],
    ids=["the recipient list has malformed addresses", "a resend"],
)
def test_what_no_relay_did_is_no_rate(before: StatsSnapshot, after: StatsSnapshot) -> None:
    assert measure((0, before), (1, after)).rate_per_second is None


def test_skipped_sends_are_no_rate() -> None:
    assert measure((0, snapshot(queued=100)), (1, snapshot(skipped=100))).rate_per_second == 0


@pytest.mark.parametrize(
    "taken",
    [
        snapshot(queued=5, delivered=1, paused_at=START),
        snapshot(CampaignStatus.SENT, delivered=6),
        snapshot(deferred=5, delivered=1),
    ],
    ids=["paused", "sent", "waits for a second try"],
)
def test_what_waits_for_a_reason_neither_stalls_nor_has_a_time_left(taken: StatsSnapshot) -> None:
    progress = measure((0, taken), (STALL_SECONDS + 1, taken))
    assert (progress.stalled_since, progress.seconds_left) == (None, None)


@pytest.mark.parametrize("waiting", [snapshot(queued=5), snapshot(sending=5), snapshot(fetched=7)])
def test_a_stall_begins_at_the_last_change(waiting: StatsSnapshot) -> None:
    meter = ProgressMeter()
    changed = replace(waiting, contacts_fetched=6) if waiting.contacts_fetched else snapshot(queued=6)
    before = measure((0, changed), (3, waiting), (2.9 + STALL_SECONDS, waiting), meter=meter)
    assert before.stalled_since is None
    after = measure((3 + STALL_SECONDS, waiting), meter=meter)
    assert after.stalled_since == START + timedelta(seconds=3)
    assert measure((4 + STALL_SECONDS, snapshot(queued=1)), meter=meter).stalled_since is None


@pytest.mark.parametrize(
    ("delivered_at", "since"),
    [
        (None, LAUNCH),
        (LAUNCH + timedelta(minutes=7), LAUNCH + timedelta(minutes=8)),
        (START - timedelta(seconds=20), START),
    ],
    ids=["nothing delivered", "in an earlier minute", "in this minute"],
)
def test_a_stall_that_began_before_the_watching_has_its_own_beginning(
    delivered_at: datetime | None, since: datetime
) -> None:
    taken = snapshot(queued=5)
    assert measure((0, taken), (STALL_SECONDS, taken), delivered_at=delivered_at).stalled_since == since


def test_the_rate_falls_to_zero_when_nothing_happens() -> None:
    samples = [(0.0, snapshot(queued=9)), (1.0, snapshot(queued=8, delivered=1))]
    still = [(1 + second, snapshot(queued=8, delivered=1)) for second in range(1, int(RATE_SECONDS) + 2)]
    progress = measure(*samples, *still)
    assert (progress.rate_per_second, progress.seconds_left) == (0, None)
