"""The metrics of a worker process, for Prometheus."""

from __future__ import annotations

from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from marketing_service.launching import OUTCOMES
from marketing_service.ledger.lifecycle import FailureCode, PauseReason
from marketing_service.sending import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from marketing_service.campaigns.suppression_imports import SuppressionImporter
    from marketing_service.launching import Expander, ScheduledLaunches
    from marketing_service.ports import Mailer
    from marketing_service.sending import RelayFeedback, Sender, SendingStats


class BackgroundTask(StrEnum):
    """What a worker does again and again, beside its jobs. Each has a series of its own, from the start."""

    SWEEP = "sweep"
    SCHEDULED_LAUNCHES = "scheduled_launches"
    OPT_OUTS = "opt_outs"
    IMPORTS = "imports"
    RESENDS = "resends"
    THROTTLE = "throttle"
    QUEUE = "queue"
    LEASES = "leases"


class ScheduleCollector:
    """Reads the counts on each request, as SendingCollector does."""

    def __init__(self, launches: ScheduledLaunches) -> None:
        self._launches = launches

    def collect(self) -> Iterator[Metric]:
        launches = CounterMetricFamily(
            "marketing_scheduled_launches",
            "Schedules that this process ended: it launched the campaign, or left a problem.",
            labels=("outcome",),
        )
        # Also those that did not happen yet: Prometheus sees no increase in the first value of a series.
        for outcome in OUTCOMES:
            launches.add_metric((outcome,), self._launches.outcomes[outcome])
        yield launches


class SendingCollector:
    """Reads the stats on each request, in the thread of the request. That is safe, because the stats are plain numbers
    that only grow."""

    def __init__(self, sender: Sender, mailer: Mailer) -> None:
        self._sender = sender
        self._mailer = mailer

    def collect(self) -> Iterator[Metric]:
        stats = self._sender.stats
        yield from _submissions(stats)
        yield from _delays(stats)
        yield CounterMetricFamily(
            "marketing_results_refused_by_fence",
            "Results that were not recorded, because another process had already taken over the batch.",
            value=stats.refused_by_fence,
        )
        yield CounterMetricFamily(
            "marketing_values_refused",
            "Sends whose result, or whose mark, PostgreSQL refused because of its values.",
            value=stats.refused_values,
        )
        capacity = self._mailer.capacity
        yield GaugeMetricFamily(
            "marketing_relay_connections_allowed",
            "Connections that this process opens at most, as the relay's replies ask.",
            value=capacity.connections,
        )
        yield GaugeMetricFamily(
            "marketing_relay_rate_allowed",
            "Messages per second that this process submits at most, as the relay's replies ask; 0 means no limit.",
            value=capacity.rate or 0.0,
        )
        yield _unknown_replies(self._sender.feedback)
        yield GaugeMetricFamily(
            "marketing_relay_connections_open",
            "Connections to the relay that are open.",
            value=self._mailer.connections_open,
        )
        yield GaugeMetricFamily(
            "marketing_batches_running", "Batches that are being sent.", value=self._sender.batches_running
        )


class Faults:
    """What went wrong outside of the sending, in plain numbers."""

    def __init__(self) -> None:
        self.failed_tasks = dict.fromkeys(BackgroundTask, 0)
        self.is_waiting = True
        """Whether the process takes no job, because PostgreSQL cannot be used or has an older schema."""


class FaultCollector:
    """Reads the numbers as SendingCollector does. Each series begins at zero: Prometheus sees no increase in the first
    value of a series."""

    def __init__(self, faults: Faults, expander: Expander, importer: SuppressionImporter) -> None:
        self._faults = faults
        self._expander = expander
        self._importer = importer

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "marketing_worker_waiting",
            "1 while this process takes no job, because PostgreSQL cannot be used or has an older schema.",
            value=int(self._faults.is_waiting),
        )
        tasks = CounterMetricFamily(
            "marketing_tasks_failed", "Runs of a background task that ended with an unexpected error.", labels=("task",)
        )
        for task, count in self._faults.failed_tasks.items():
            tasks.add_metric((task,), count)
        yield tasks
        launches = CounterMetricFamily("marketing_launches_failed", "Launches that became FAILED.", labels=("code",))
        for code in FailureCode:
            launches.add_metric((code,), self._expander.failures[code])
        yield launches
        yield CounterMetricFamily(
            "marketing_import_steps_failed",
            "Steps of imports into the suppression list that failed, and are tried again.",
            value=self._importer.failed_steps,
        )


def _submissions(stats: SendingStats) -> Iterator[Metric]:
    by_outcome = CounterMetricFamily(
        "marketing_submissions",
        "Messages submitted to the relay, by outcome and by the phase of the SMTP transaction that decided it.",
        labels=("outcome", "phase"),
    )
    for (outcome, phase), count in sorted(stats.submissions.items()):
        by_outcome.add_metric((outcome, phase), count)
    yield by_outcome
    bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
    yield HistogramMetricFamily(
        "marketing_submission_seconds",
        "Seconds from the first command for a message to the relay's last reply about it.",
        buckets=list(zip(bounds, accumulate(stats.durations), strict=True)),
        sum_value=stats.seconds,
    )


def _delays(stats: SendingStats) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "marketing_rate_waits",
        "How often a connection waited for the rate limiter, up to a second each time, before its next message.",
        value=stats.rate_waits,
    )
    yield CounterMetricFamily(
        "marketing_batches_released",
        "Batches released because the rate limiter would not have allowed more messages soon.",
        value=stats.batches_released,
    )
    yield CounterMetricFamily(
        "marketing_sends_postponed",
        "Sends postponed because their receiving domain asked for less mail.",
        value=stats.postponed,
    )
    pauses = CounterMetricFamily(
        "marketing_relay_pauses", "Campaigns that this process paused because of the relay.", labels=("reason",)
    )
    # Also those that did not happen yet: Prometheus sees no increase in the first value of a series.
    for reason in PauseReason:
        if reason is not PauseReason.USER:
            pauses.add_metric((reason,), stats.pauses[reason])
    yield pauses


def _unknown_replies(feedback: RelayFeedback) -> Metric:
    unknown = CounterMetricFamily(
        "marketing_replies_unknown",
        "Refusals that no rule of the reply table knows, by phase and code.",
        labels=("phase", "code"),
    )
    for (phase, code), count in sorted(feedback.unknown.items()):
        unknown.add_metric((phase, str(code)), count)
    return unknown
