"""Takes jobs out of a queue with arq, which is kept going whatever becomes of Redis."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import structlog
from arq.worker import Worker

from marketing_service.queue import deserialize, serialize
from marketing_service.worker.jobs import DEPENDENCIES, functions

if TYPE_CHECKING:
    from arq.connections import ArqRedis

    from marketing_service.queue import Queue
    from marketing_service.worker.dependencies import WorkerDependencies

log = structlog.get_logger(__name__)

_POLL = 0.1
_QUEUE_READ = 1000
"""Ids read per poll: arq looks no further, and passes over those other workers have in hand."""
_FIRST_PAUSE = 0.5
_MAX_PAUSE = 5.0


class _Drained(Exception):
    """arq was told to take no more jobs, and has ended between two polls, with nothing half done."""


class _Arq(Worker):
    async def heart_beat(self) -> None:
        """Comes at the end of every poll."""
        if not self.allow_pick_jobs:
            raise _Drained
        await super().heart_beat()


class ArqConsumer:
    """Works on at most `slots` jobs of one queue at a time."""

    def __init__(self, queue: Queue, redis: ArqRedis, dependencies: WorkerDependencies, *, slots: int) -> None:
        self._queue = queue
        self._redis = redis
        self._dependencies = dependencies
        self._slots = slots
        self._worker: _Arq | None = None
        self._orphans: set[asyncio.Task[object]] = set()

    @property
    def jobs(self) -> set[asyncio.Task[object]]:
        """The jobs under way."""
        return {*self._orphans, *(self._worker.tasks.values() if self._worker else ())}

    def stop(self) -> None:
        """Take no more jobs; `run` ends at the next poll, with nothing half taken."""
        if self._worker is not None:
            self._worker.allow_pick_jobs = False

    async def run(self) -> None:
        """Arq ends when Redis goes away; its jobs run on, and another one takes its place."""
        pause = _FIRST_PAUSE
        while True:
            started = asyncio.get_running_loop().time()
            self._worker = self._arq()
            try:
                await self._worker.async_run()
            except _Drained:
                return
            except Exception as error:  # noqa: BLE001 - whatever ended it, the next one is due
                log.warning("arq_ended", error=type(error).__name__)
            self._adopt(self._worker)
            if asyncio.get_running_loop().time() - started > _MAX_PAUSE:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)

    def _arq(self) -> _Arq:
        return _Arq(
            functions(self._queue),
            queue_name=self._queue,
            redis_pool=self._redis,
            handle_signals=False,
            max_jobs=self._slots,
            poll_delay=_POLL,
            queue_read_limit=_QUEUE_READ,
            # A job that is cut off is not arq's to run again: the sweep rings, under a new id.
            retry_jobs=False,
            keep_result=0,
            log_results=False,
            health_check_key=f"{self._queue}:health:{socket.gethostname()}:{os.getpid()}",
            job_serializer=serialize,
            job_deserializer=deserialize,
            ctx={DEPENDENCIES: self._dependencies},
        )

    def _adopt(self, worker: _Arq) -> None:
        """Keep hold of the jobs of an arq that has ended, until they are through."""
        for task in worker.tasks.values():
            self._orphans.add(task)
            task.add_done_callback(self._orphan_ended)

    def _orphan_ended(self, task: asyncio.Task[object]) -> None:
        self._orphans.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.info("job_end_not_noted", error=type(task.exception()).__name__)
