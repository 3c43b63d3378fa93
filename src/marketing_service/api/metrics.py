"""What /metrics shows: HTTP by route, opens lost, and the ledger at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from marketing_service.store.stats import LedgerStats

_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


class Metrics:
    """One application's counters; two applications in one process do not share any."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "marketing_http_requests",
            "Requests answered, by route template, method and class of status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "marketing_http_request_seconds",
            "How long the answer took, by route template.",
            ("route",),
            registry=self._registry,
        )
        self.opens_lost = Counter(
            "marketing_opens_lost",
            "Opens that could not be recorded, because PostgreSQL did not answer in time.",
            registry=self._registry,
        )

        self.reports = Counter(
            "marketing_reports",
            "Messages that came back, by what they say and what came of them.",
            ("kind", "outcome"),
            registry=self._registry,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer. `route` is the template, so that there are only as many series as routes."""
        self.route(route, method, status)(seconds)

    def route(self, route: str, method: str, status: int) -> Callable[[float], None]:
        """Counts one answer like this, when called with the seconds it took; to be kept where there are many."""
        answers = self._requests.labels(route, method if method in _METHODS else "other", f"{status // 100}xx")
        durations = self._seconds.labels(route)

        def count(seconds: float) -> None:
            answers.inc()
            durations.observe(seconds)

        return count

    def exposition(self, ledger: LedgerStats | None) -> bytes:
        """Everything in Prometheus' text format; `ledger` is None while PostgreSQL does not answer."""
        at_a_glance = CollectorRegistry()
        at_a_glance.register(_LedgerCollector(ledger))
        return generate_latest(self._registry) + generate_latest(at_a_glance)


class _LedgerCollector:
    """The ledger's gauges; left out where there are none, because an old or a zero figure would be a lie."""

    def __init__(self, stats: LedgerStats | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield GaugeMetricFamily(
            "marketing_ledger_up", "Whether PostgreSQL answered this scrape.", value=0 if stats is None else 1
        )
        if stats is None:
            return
        sends = GaugeMetricFamily("marketing_sends", "Sends by outcome, over all campaigns.", labels=("status",))
        for status, count in sorted(stats.sends_by_status.items()):
            sends.add_metric((status,), count)
        yield sends
        yield GaugeMetricFamily(
            "marketing_oldest_due_seconds",
            "How long the oldest send that is due has been waiting.",
            value=stats.oldest_due_seconds,
        )
        yield GaugeMetricFamily(
            "marketing_opt_outs_pending",
            "Opt-outs that the CRM does not have yet.",
            value=stats.opt_outs_pending,
        )
