"""What a door has been handed, and what Prometheus is shown of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from marketing_service.tracking import Handled


class ListenerStats:
    """Plain numbers; they only grow."""

    def __init__(self) -> None:
        self.handled: Counter[Handled] = Counter()
        self.postponed = 0
        """Messages that are to be brought again."""
        self.refused = 0
        """Recipients that are none of ours."""

    def collect(self) -> Iterator[Metric]:
        """Prometheus' figures, read in the scrape's own thread."""
        reports = CounterMetricFamily(
            "marketing_reports",
            "Messages that came back, by what they say and what came of them.",
            labels=("kind", "outcome"),
        )
        for handled, count in sorted(self.handled.items()):
            reports.add_metric((handled.kind, handled.outcome), count)
        yield reports
        yield CounterMetricFamily(
            "marketing_reports_postponed", "Messages that the mail server is to bring again.", value=self.postponed
        )
        yield CounterMetricFamily(
            "marketing_reports_refused", "Recipients that are none of ours, or forged.", value=self.refused
        )
