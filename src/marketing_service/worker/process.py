"""The worker process: an arq consumer for each queue, the sweep, the renewal of leases, and the drain at the end."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.errors import Unavailable
from marketing_service.logs import LogThrottle
from marketing_service.metrics import NO_METRICS, serve_metrics
from marketing_service.queue import Queue
from marketing_service.sending import RENEWALS_PER_LEASE
from marketing_service.tracking import write_opt_outs_to_crm
from marketing_service.worker.arq_consumer import ArqConsumer
from marketing_service.worker.dependencies import WorkerDependencies
from marketing_service.worker.metrics import BackgroundTask, FaultCollector, Faults, ScheduleCollector, SendingCollector
from marketing_service.worker.shutdown import ShutdownSignals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from prometheus_client.registry import Collector

    from marketing_service.metrics import Endpoint
    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)

_QUEUE_CHECK_SECONDS = 5.0
_CHECK_SECONDS = 5.0
"""Time limit of the check of the database before the work begins."""
_LAST_POLL = 2.0
"""Seconds that the consumers get to end at a poll, with no job half taken, before they are cancelled."""


async def run_worker(settings: Settings, *, control_pipe: int | None = None, metrics: Endpoint = NO_METRICS) -> None:
    """Work until told to stop. Then drain: finish and record the sends that are already marked, and release the others.

    SIGTERM or SIGINT starts the drain, and a second signal cuts it short. A supervisor does the same through the file
    descriptor `control_pipe`. Raises SettingsError if the database, Redis, or the address or port of `metrics`, cannot
    be used as it is.
    """
    shutdown = ShutdownSignals()
    shutdown.listen_for_signals()
    if control_pipe is not None:
        shutdown.listen_to_supervisor(control_pipe)
    async with Resources.open(settings, process="worker") as resources:
        await resources.verify()
        worker = WorkerProcess(resources)
        with serve_metrics(metrics, *worker.collectors()):
            gc.freeze()  # the objects made so far live as long as the process: the collector need not look at them
            await worker.run(shutdown)


class WorkerProcess:
    """Everything that one worker process does, until it is told to stop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._limits = resources.worker_limits
        self._dependencies = WorkerDependencies.of(resources)
        self._faults = Faults()
        self._redis = resources.consumer_redis()
        slots = {Queue.SENDING: self._limits.sending_jobs, Queue.AUDIENCES: self._limits.audience_jobs}
        self._consumers = [
            ArqConsumer(queue, self._redis, self._dependencies, slots=number) for queue, number in slots.items()
        ]

    def collectors(self) -> Iterator[Collector]:
        """What this process shows of itself as metrics."""
        sender, mailer = self._dependencies.sender, self._resources.mailer
        if sender is not None and mailer is not None:
            yield SendingCollector(sender, mailer)
        yield ScheduleCollector(self._dependencies.scheduled_launches)
        yield FaultCollector(self._faults, self._dependencies.expander, self._dependencies.importer)

    async def run(self, shutdown: ShutdownSignals) -> None:
        """Work until told to drain; then drain, for at most MARKETING_DRAIN_SECONDS or until told to stop now."""
        limits = self._limits
        await self._until_usable(shutdown.drain)
        importer = self._dependencies.importer
        consuming = [asyncio.create_task(consumer.run()) for consumer in self._consumers]
        background = [
            asyncio.create_task(
                self._repeat(BackgroundTask.SWEEP, limits.sweep_seconds, self._dependencies.sweep.sweep)
            ),
            # Not a part of the sweep: a sweep that takes long would make the launches late.
            asyncio.create_task(
                self._repeat(
                    BackgroundTask.SCHEDULED_LAUNCHES, limits.sweep_seconds, self._dependencies.scheduled_launches.run
                )
            ),
            asyncio.create_task(self._repeat(BackgroundTask.OPT_OUTS, limits.sweep_seconds, self._write_opt_outs)),
            asyncio.create_task(
                self._repeat(BackgroundTask.IMPORTS, limits.sweep_seconds, importer.run, wake=importer.due)
            ),
            asyncio.create_task(
                self._repeat(BackgroundTask.RESENDS, limits.sweep_seconds, self._dependencies.resender.run)
            ),
            asyncio.create_task(self._repeat(BackgroundTask.THROTTLE, limits.sweep_seconds, self._report_throttle)),
            # arq skips a job without a word if Redis refuses its writes.
            asyncio.create_task(
                self._repeat(BackgroundTask.QUEUE, _QUEUE_CHECK_SECONDS, self._resources.job_queue.ping)
            ),
        ]
        renewing = asyncio.create_task(self._renew_leases())
        log.info("worker_started", relay=self._resources.mailer is not None)
        try:
            await shutdown.drain.wait()
            log.info("worker_draining", seconds=limits.drain_seconds)
        finally:
            self._dependencies.drain()
            for consumer in self._consumers:
                consumer.stop()
            await asyncio.wait(consuming, timeout=_LAST_POLL)
            for task in (*consuming, *background):
                task.cancel()
            await asyncio.gather(*consuming, *background, return_exceptions=True)
            await self._finish_jobs(limits.drain_seconds, shutdown.stop_now)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._redis.aclose(close_connection_pool=True)
        log.info("worker_stopped")

    async def _until_usable(self, drain: asyncio.Event) -> None:
        """Wait until the database takes writes and has the schema that this version needs, or until `drain`. Before
        that no job can succeed."""
        throttle = LogThrottle()
        while not drain.is_set():
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._resources.check_database()
            except (Unavailable, TimeoutError) as error:
                reason = error.detail if isinstance(error, Unavailable) else "PostgreSQL does not answer."
                if throttle.allows(reason, time.monotonic()):
                    log.warning("worker_waits", reason=reason, cause=getattr(error, "cause", None))
            else:
                self._faults.is_waiting = False
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(drain.wait(), self._limits.sweep_seconds)

    async def _renew_leases(self) -> None:
        if self._dependencies.sender is not None:
            leases = self._dependencies.sender.leases
            await self._repeat(BackgroundTask.LEASES, leases.seconds / RENEWALS_PER_LEASE, leases.renew)

    async def _report_throttle(self) -> None:
        if self._dependencies.sender is not None:
            await self._dependencies.sender.report_throttle()

    async def _write_opt_outs(self) -> None:
        await write_opt_outs_to_crm(self._resources.transactions, self._resources.audience)

    async def _repeat(
        self,
        task: BackgroundTask,
        seconds: float,
        work: Callable[[], Awaitable[None]],
        *,
        wake: asyncio.Event | None = None,
    ) -> None:
        """Do the work again and again, with pauses of so many seconds. `wake` ends a pause early."""
        while True:
            try:
                await work()
            except Unavailable as error:
                log.warning("task_postponed", task=task.value, reason=error.detail, error=error.cause)
            except Exception:
                self._faults.failed_tasks[task] += 1
                log.exception("task_failed", task=task.value)
            if wake is None:
                await asyncio.sleep(seconds)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(wake.wait(), seconds)

    async def _finish_jobs(self, seconds: float, stop_now: asyncio.Event) -> None:
        """Wait for the running jobs, for at most `seconds` or until `stop_now`, then cancel the unfinished ones."""
        jobs = {job for consumer in self._consumers for job in consumer.jobs}
        if not jobs:
            return
        finished = asyncio.create_task(asyncio.wait(jobs))
        stopped = asyncio.create_task(stop_now.wait())
        await asyncio.wait((finished, stopped), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        unfinished = [job for job in jobs if not job.done()]
        if unfinished:
            log.warning("drain_cut_short", jobs=len(unfinished))
        for job in unfinished:
            job.cancel()
        await finished
        await asyncio.gather(*jobs, stopped, return_exceptions=True)
