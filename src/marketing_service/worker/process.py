"""The worker process: arq for each queue, the sweep, the leases, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import structlog

from marketing_service.bootstrap import Resources
from marketing_service.errors import Unavailable
from marketing_service.metrics import NOWHERE, exposed
from marketing_service.queue import Queue, connect
from marketing_service.sending import RENEWALS_PER_LEASE
from marketing_service.tracking import bring_opt_outs_to_crm
from marketing_service.worker.arq_consumer import ArqConsumer
from marketing_service.worker.dependencies import WorkerDependencies
from marketing_service.worker.metrics import SendingCollector
from marketing_service.worker.shutdown import ShutdownSignals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from marketing_service.metrics import Endpoint
    from marketing_service.sending import Sender
    from marketing_service.settings import Settings

log = structlog.get_logger(__name__)

_LAST_POLL = 2.0


async def run_worker(settings: Settings, *, lifeline: int | None = None, metrics: Endpoint = NOWHERE) -> None:
    """Work until told to stop, then drain: what is on the wire is finished and recorded, the rest goes back.

    SIGTERM and SIGINT stop it, a second one hurries it; so does a supervisor through `lifeline`. Raises SettingsError
    when `metrics` is an address where nobody can listen.
    """
    shutdown = ShutdownSignals()
    shutdown.listen_for_signals()
    if lifeline is not None:
        shutdown.listen_to_supervisor(lifeline)
    async with Resources.open(settings, process="worker") as resources:
        worker = WorkerProcess(resources)
        sender, mailer = worker.sender, resources.mailer
        with exposed(metrics, *([] if sender is None or mailer is None else [SendingCollector(sender, mailer)])):
            gc.freeze()  # what was made at the start stays: there is no garbage to look for in it
            await worker.run(shutdown)


class WorkerProcess:
    """One process's worth of work, until it is told to stop."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._dependencies = WorkerDependencies.of(resources)
        self._redis = connect(resources.settings.redis_url.get_secret_value(), timeout=5.0)
        settings = resources.settings
        slots = {Queue.SENDING: settings.worker_jobs, Queue.AUDIENCES: settings.worker_audiences}
        self._consumers = [
            ArqConsumer(queue, self._redis, self._dependencies, slots=number) for queue, number in slots.items()
        ]

    @property
    def sender(self) -> Sender | None:
        return self._dependencies.sender

    async def run(self, shutdown: ShutdownSignals) -> None:
        """Work until told to stop, then drain for at most MARKETING_DRAIN_SECONDS, or until told to hurry."""
        settings = self._resources.settings
        picking = [asyncio.create_task(consumer.run()) for consumer in self._consumers]
        background = [
            asyncio.create_task(_repeat("sweep", settings.sweep_seconds, self._dependencies.sweep.sweep)),
            asyncio.create_task(_repeat("opt_outs", settings.sweep_seconds, self._bring_opt_outs)),
        ]
        renewing = asyncio.create_task(self._keep_leases())
        log.info("worker_started", relay=self._resources.mailer is not None)
        try:
            await shutdown.stop.wait()
            log.info("worker_draining", seconds=settings.drain_seconds)
        finally:
            self._dependencies.drain()
            for consumer in self._consumers:
                consumer.stop()
            await asyncio.wait(picking, timeout=_LAST_POLL)
            for task in (*picking, *background):
                task.cancel()
            await asyncio.gather(*picking, *background, return_exceptions=True)
            await self._drain(settings.drain_seconds, shutdown.hurry)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._redis.aclose(close_connection_pool=True)
        log.info("worker_stopped")

    async def _keep_leases(self) -> None:
        if self._dependencies.sender is not None:
            leases = self._dependencies.sender.leases
            await _repeat("leases", leases.seconds / RENEWALS_PER_LEASE, leases.renew)

    async def _bring_opt_outs(self) -> None:
        await bring_opt_outs_to_crm(self._resources.transactions, self._resources.audience)

    async def _drain(self, seconds: float, hurry: asyncio.Event) -> None:
        jobs = {job for consumer in self._consumers for job in consumer.jobs}
        if not jobs:
            return
        through = asyncio.create_task(asyncio.wait(jobs))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((through, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        unfinished = [job for job in jobs if not job.done()]
        if unfinished:
            log.warning("drain_cut_short", jobs=len(unfinished))
        for job in unfinished:
            job.cancel()
        await through
        await asyncio.gather(*jobs, hurried, return_exceptions=True)


async def _repeat(name: str, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Unavailable as error:
            log.warning("postponed", work=name, reason=error.detail)
        except Exception:
            log.exception("failed", work=name)
        await asyncio.sleep(seconds)
