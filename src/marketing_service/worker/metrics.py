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
    from marketing_service.sending import Sender, SendingStats


class SendingCollector:
    """Reads the stats when it is asked, in the scrape's own thread: they are plain numbers, and only grow."""

    def __init__(self, sender: Sender, mailer: Mailer) -> None:
        self._sender = sender
        self._mailer = mailer

    def collect(self) -> Iterator[Metric]:
        stats = self._sender.stats
        yield from _submissions(stats)
        yield from _held_up(stats)
        yield CounterMetricFamily(
            "marketing_results_refused_by_fence",
            "Results that came after the batch had been taken from this process, and were not recorded.",
            value=stats.refused_by_fence,
        )
        yield GaugeMetricFamily(
            "marketing_relay_connections_open",
            "Connections to the relay that are open.",
            value=self._mailer.connections_open,
        )
        yield GaugeMetricFamily(
            "marketing_batches_running", "Batches being worked on.", value=self._sender.batches_running
        )


def _submissions(stats: SendingStats) -> Iterator[Metric]:
    by_fate = CounterMetricFamily(
        "marketing_submissions",
        "Messages handed to the relay, by what became of them and in which phase of the conversation.",
        labels=("outcome", "phase"),
    )
    for (outcome, phase), count in sorted(stats.submissions.items()):
        by_fate.add_metric((outcome, phase), count)
    yield by_fate
    bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
    yield HistogramMetricFamily(
        "marketing_submission_seconds",
        "From the beginning of a message to the relay's last word on it.",
        buckets=list(zip(bounds, accumulate(stats.durations), strict=True)),
        sum_value=stats.seconds,
    )


def _held_up(stats: SendingStats) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "marketing_rate_waits",
        "How often a connection's next message had to wait, up to a second, for the rates.",
        value=stats.rate_waits,
    )
    yield CounterMetricFamily(
        "marketing_batches_released",
        "Batches given back because the rates would not have allowed more soon.",
        value=stats.batches_released,
    )
    yield CounterMetricFamily(
        "marketing_sends_postponed", "Sends put off because their domain asked for less.", value=stats.postponed
    )
    pauses = CounterMetricFamily(
        "marketing_relay_pauses", "Campaigns that this process paused because of the relay.", labels=("reason",)
    )
    for reason, count in sorted(stats.pauses.items()):
        pauses.add_metric((reason,), count)
    yield pauses
