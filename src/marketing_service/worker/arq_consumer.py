"""Takes jobs from a queue with arq, and starts arq again whenever it ends because Redis failed."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import structlog
from arq.utils import poll
from arq.worker import Worker

from marketing_service.backoff import ExponentialBackoff
from marketing_service.queue import deserialize, serialize
from marketing_service.redis_access import REDIS_FAILURES, redis_unavailable
from marketing_service.worker.jobs import DEPENDENCIES, functions

if TYPE_CHECKING:
    from arq.connections import ArqRedis

    from marketing_service.queue import Queue
    from marketing_service.worker.dependencies import WorkerDependencies

log = structlog.get_logger(__name__)

_POLL = 0.1
_QUEUE_READ = 1000
"""Job ids read per poll. arq looks at no more than these, and skips the ones that other workers are working on."""
_BACKOFF = ExponentialBackoff(first=0.5, maximum=5.0)
_STABLE_SECONDS = 5.0
"""An arq worker that ran for longer than this resets the back-off."""


class _Drained(Exception):
    """arq was told to take no more jobs, and has ended between two polls, with no job half taken."""


class _Arq(Worker):
    async def main(self) -> None:
        """As arq's own `main`, without the INFO that it sends first: for Redis this is a dangerous command, which the
        access list of an operator may not allow."""
        self.ctx["redis"] = self.pool
        async for _ in poll(self.poll_delay_s):
            await self._poll_iteration()

    async def heart_beat(self) -> None:
        """Arq calls this at the end of every poll."""
        if not self.allow_pick_jobs:
            raise _Drained
        await super().heart_beat()


class ArqConsumer:
    """Runs at most `slots` jobs of one queue at a time."""

    def __init__(self, queue: Queue, redis: ArqRedis, dependencies: WorkerDependencies, *, slots: int) -> None:
        self._queue = queue
        self._redis = redis
        self._dependencies = dependencies
        self._slots = slots
        self._worker: _Arq | None = None
        self._orphans: set[asyncio.Task[object]] = set()

    @property
    def jobs(self) -> set[asyncio.Task[object]]:
        """The jobs that are running."""
        return {*self._orphans, *(self._worker.tasks.values() if self._worker else ())}

    def stop(self) -> None:
        """Take no more jobs. `run` returns at the next poll, with no job half taken."""
        if self._worker is not None:
            self._worker.allow_pick_jobs = False

    async def run(self) -> None:
        """Take jobs until `stop`. When Redis fails, arq ends and its jobs continue; a new arq worker is started."""
        failures = 0
        while True:
            started = asyncio.get_running_loop().time()
            self._worker = self._arq()
            try:
                await self._worker.async_run()
            except _Drained:
                return
            except Exception as error:  # noqa: BLE001 - after any error arq is started again
                outage = redis_unavailable(error) if isinstance(error, REDIS_FAILURES) else None
                log.warning(
                    "arq_ended",
                    reason=None if outage is None else outage.detail,
                    error=type(error).__name__ if outage is None else outage.cause,
                )
            self._adopt(self._worker)
            if asyncio.get_running_loop().time() - started > _STABLE_SECONDS:
                failures = 0
            failures += 1
            await asyncio.sleep(_BACKOFF.delay(failures))

    def _arq(self) -> _Arq:
        return _Arq(
            functions(self._queue),
            queue_name=self._queue,
            redis_pool=self._redis,
            handle_signals=False,
            max_jobs=self._slots,
            poll_delay=_POLL,
            queue_read_limit=_QUEUE_READ,
            # arq must not retry a job that was interrupted: the sweep enqueues it again, with a new id.
            retry_jobs=False,
            keep_result=0,
            log_results=False,
            health_check_key=f"{self._queue}:health:{socket.gethostname()}:{os.getpid()}",
            job_serializer=serialize,
            job_deserializer=deserialize,
            ctx={DEPENDENCIES: self._dependencies},
        )

    def _adopt(self, worker: _Arq) -> None:
        """Keep a reference to the jobs of an arq worker that has ended, until they are finished."""
        for task in worker.tasks.values():
            self._orphans.add(task)
            task.add_done_callback(self._orphan_finished)

    def _orphan_finished(self, task: asyncio.Task[object]) -> None:
        self._orphans.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # arq could not write the end of the job to Redis; the job itself has finished.
            log.info("job_result_not_stored", error=type(task.exception()).__name__)
