"""The stats of a listener, and its metrics for Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from marketing_service.tracking import Handled


class ListenerStats:
    """Plain numbers that only grow."""

    def __init__(self) -> None:
        self.handled: Counter[Handled] = Counter()
        self.postponed = 0
        """Reports that the mail server must deliver again."""
        self.refused = 0
        """Recipients that were refused, because the address is not one of this service."""

    def collect(self) -> Iterator[Metric]:
        """The metrics, read in the thread of Prometheus' request."""
        reports = CounterMetricFamily(
            "marketing_reports",
            "Reports received (bounces and complaints), by kind and outcome.",
            labels=("kind", "outcome"),
        )
        for handled, count in sorted(self.handled.items()):
            reports.add_metric((handled.kind, handled.outcome), count)
        yield reports
        yield CounterMetricFamily(
            "marketing_reports_postponed", "Reports that the mail server must deliver again.", value=self.postponed
        )
        yield CounterMetricFamily(
            "marketing_reports_refused",
            "Recipients refused, because the address is forged or not one of this service.",
            value=self.refused,
        )
