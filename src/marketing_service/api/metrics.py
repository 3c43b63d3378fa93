"""The metrics of the API process: HTTP requests by route, lost opens, bounce reports, totals of the ledger, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from marketing_service.ports import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from marketing_service.store.stats import LedgerStats

_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})


class Metrics:
    """The counters of one application. Two applications in one process do not share counters."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "marketing_http_requests",
            "HTTP requests, by route template, method and class of status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "marketing_http_request_seconds",
            "Time from the request to the end of the response (of an event stream: to its start), by route template.",
            ("route",),
            registry=self._registry,
        )
        self.opens_lost = Counter(
            "marketing_opens_lost",
            "Opens that could not be recorded, because PostgreSQL did not answer in time.",
            registry=self._registry,
        )

        self.refused = Counter(
            "marketing_api_refused",
            "Requests refused with 429, by limit.",
            ("limit",),
            registry=self._registry,
        )
        for limit in Limit:
            self.refused.labels(limit)
        self._limits_local = Gauge(
            "marketing_api_limits_local",
            "1 while this process counts the limits alone because Redis does not answer, else 0.",
            registry=self._registry,
        )

        self._event_streams = Gauge(
            "marketing_api_event_streams", "Event streams that are open in this process.", registry=self._registry
        )

        self.reports = Counter(
            "marketing_reports",
            "Reports (bounces, complaints) received, by kind and outcome.",
            ("kind", "outcome"),
            registry=self._registry,
        )

    def show_local_limits(self, is_local: Callable[[], bool]) -> None:
        """Let `marketing_api_limits_local` show what `is_local` returns."""
        self._limits_local.set_function(is_local)

    def show_event_streams(self, count: Callable[[], int]) -> None:
        """Let `marketing_api_event_streams` show what `count` returns."""
        self._event_streams.set_function(count)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one response. `route` is the template, so that there is one series per route, not per path."""
        self.route(route, method, status)(seconds)

    def route(self, route: str, method: str, status: int) -> Callable[[float], None]:
        """A function that counts one response, called with its duration in seconds. Keep it for a route with many
        requests: it looks the labels up once."""
        requests = self._requests.labels(route, method if method in _METHODS else "other", f"{status // 100}xx")
        durations = self._seconds.labels(route)

        def count(seconds: float) -> None:
            requests.inc()
            durations.observe(seconds)

        return count

    def exposition(self, ledger: LedgerStats | None) -> bytes:
        """All metrics in Prometheus' text format. `ledger` is None if PostgreSQL does not answer."""
        totals = CollectorRegistry()
        totals.register(_LedgerCollector(ledger))
        return generate_latest(self._registry) + generate_latest(totals)


class _LedgerCollector:
    """The gauges of the ledger. Without stats they are left out, because an old value or a zero would be wrong."""

    def __init__(self, stats: LedgerStats | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield GaugeMetricFamily(
            "marketing_ledger_up", "1 if PostgreSQL answered this scrape, else 0.", value=0 if stats is None else 1
        )
        if stats is None:
            return
        sends = GaugeMetricFamily("marketing_sends", "Sends by outcome, over all campaigns.", labels=("status",))
        for status, count in sorted(stats.sends_by_status.items()):
            sends.add_metric((status,), count)
        yield sends
        yield GaugeMetricFamily(
            "marketing_oldest_due_seconds",
            "Time that the oldest due send has been waiting.",
            value=stats.oldest_due_seconds,
        )
        yield GaugeMetricFamily(
            "marketing_opt_outs_pending",
            "Opt-outs that are not yet written to the CRM.",
            value=stats.opt_outs_pending,
        )
