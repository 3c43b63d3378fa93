"""What a worker process shows to Prometheus."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from marketing_service.sending import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from marketing_service.ports import Mailer
    from marketing_service.sending import Counts, Sender


class SendingCollector:
    """Reads the counts when it is asked, in the scrape's own thread: they are plain numbers, and only grow."""

    def __init__(self, sender: Sender, mailer: Mailer) -> None:
        self._sender = sender
        self._mailer = mailer

    def collect(self) -> Iterator[Metric]:
        counts = self._sender.counts
        yield from _hand_overs(counts)
        yield from _held_up(counts)
        yield CounterMetricFamily(
            "marketing_results_refused_by_fence",
            "Results that came after the batch had been taken from this process, and were not recorded.",
            value=counts.refused_by_fence,
        )
        yield GaugeMetricFamily(
            "marketing_relay_connections_open",
            "Connections to the relay that are open.",
            value=self._mailer.connections_open,
        )
        yield GaugeMetricFamily(
            "marketing_batches_running", "Batches being worked on.", value=self._sender.batches_running
        )


def _hand_overs(counts: Counts) -> Iterator[Metric]:
    by_fate = CounterMetricFamily(
        "marketing_hand_overs",
        "Messages handed to the relay, by what became of them and in which phase of the conversation.",
        labels=("fate", "phase"),
    )
    for (fate, phase), count in sorted(counts.hand_overs.items()):
        by_fate.add_metric((fate, phase), count)
    yield by_fate
    bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
    yield HistogramMetricFamily(
        "marketing_hand_over_seconds",
        "From the beginning of a message to the relay's last word on it.",
        buckets=list(zip(bounds, accumulate(counts.durations), strict=True)),
        sum_value=counts.seconds,
    )


def _held_up(counts: Counts) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "marketing_rate_waits",
        "How often a connection's next message had to wait, up to a second, for the rates.",
        value=counts.rate_waits,
    )
    yield CounterMetricFamily(
        "marketing_batches_rested",
        "Batches given back because the rates would not have allowed more soon.",
        value=counts.batches_rested,
    )
    yield CounterMetricFamily(
        "marketing_sends_held_back", "Sends put off because their domain asked for less.", value=counts.held_back
    )
    holds = CounterMetricFamily(
        "marketing_relay_holds", "Campaigns that this process paused because of the relay.", labels=("reason",)
    )
    for reason, count in sorted(counts.holds.items()):
        holds.add_metric((reason,), count)
    yield holds
