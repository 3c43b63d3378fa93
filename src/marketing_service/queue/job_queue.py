"""Typed enqueueing. A job carries only ids. A lost job does no harm, because the sweep enqueues it again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from arq.connections import ArqRedis

from marketing_service.errors import Unavailable
from marketing_service.queue.jobs import Job, Queue, deserialize, serialize
from marketing_service.redis_access import REDIS_FAILURES, RedisAddress, ServerCheck, WrongRedis, redis_unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any
    from uuid import UUID

    from marketing_service.ports import QueuedBatch

_TIMEOUT = 1.5
"""Seconds to enqueue one job. It is short, because a caller waits, and the sweep enqueues the job if this fails."""
_ID_LIFETIME = 30
"""Seconds for which a job keeps its id. After that the same job gets a new id: if a worker is killed, arq remembers the
id of its job for hours and would drop a new job with the same id."""

_JOB_LIFETIME = timedelta(days=1)
"""A job that no worker has taken after this time is dropped. The sweep has enqueued it again long before."""

_MAX_PENALTY = 600.0
_PENALTY_PER_BATCH = 60.0
"""Seconds. arq runs jobs in the order of their time stamps. A stamp is the time at which the job is enqueued, plus
`_PENALTY_PER_BATCH` for each batch of the same campaign that is in the queue before it. So the only batch of a small
campaign goes before the second batch of a large one, and the second batch still goes first if it has waited longer than
the penalty."""
_IN_THE_PAST = timedelta(days=100 * 365)
"""Subtracted from each stamp. arq compares the stamps with the clock of the worker, and runs only what is not in the
future. Until 2069 the stamps are before 1970, so no clock of a worker delays a job. Only the clock of Redis decides the
order."""

log = structlog.get_logger(__name__)


def connect(url: str, *, timeout: float = _TIMEOUT) -> ArqRedis:
    """A client for arq's queue. Each command fails after `timeout` seconds. Opens no connection yet."""
    pool = RedisAddress.parse(url).pool(timeout=timeout, health_check_interval=15)
    return ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize, default_queue_name=Queue.SENDING)


class ArqJobQueue:
    """Enqueues jobs with arq. The same job is in the queue only once, because its id is the same."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._check = ServerCheck(redis)

    async def enqueue_expansion(self, campaign_id: UUID, epoch: int) -> None:
        """Have a worker expand the campaign. Raises Unavailable."""
        await self._enqueue(Job.EXPAND, f"{campaign_id}:{epoch}", str(campaign_id))

    async def enqueue_batches(self, queued: Sequence[QueuedBatch]) -> None:
        """Have workers send the batches. Raises Unavailable."""
        for batch in queued:
            await self._enqueue(
                Job.SEND_BATCH,
                f"{batch.campaign_id}:{batch.number}:{batch.enqueue_count}",
                str(batch.campaign_id),
                batch.number,
                ahead=batch.ahead,
            )

    async def enqueue_preflight(self, campaign_id: UUID, epoch: int) -> None:
        """Have a worker run the preflight of the campaign. Raises Unavailable."""
        await self._enqueue(Job.PREFLIGHT, f"{campaign_id}:{epoch}", str(campaign_id))

    async def enqueue_test_mail(self, test_mail_id: UUID) -> None:
        """Have a worker send the test mail. Raises Unavailable."""
        await self._enqueue(Job.SEND_TEST, str(test_mail_id), str(test_mail_id))

    async def enqueue_opt_outs(self) -> None:
        """Have a worker write the pending opt-outs to the CRM. Raises Unavailable."""
        await self._enqueue(Job.OPT_OUTS, "due")

    async def enqueue_import(self, import_id: UUID) -> None:
        """Have a worker do the steps of an import. Raises Unavailable."""
        await self._enqueue(Job.IMPORT, str(import_id), str(import_id))

    async def ping(self) -> None:
        """Write keys that live for a minute. Raises Unavailable if Redis does not answer, takes no writes, or cannot be
        used as it is."""
        await _within_timeout(self._check.run())

    async def verify(self) -> None:
        """As `ping`, when the process starts. Raises WrongRedis if the server cannot be used, whenever it is tried.
        Only logs it if Redis is down, or takes no writes, now."""
        try:
            await self.ping()
        except Unavailable as outage:
            if isinstance(outage.__cause__, WrongRedis):
                raise outage.__cause__ from None
            log.warning("redis_not_verified", reason=outage.detail, error=outage.cause)

    async def _enqueue(self, job: Job, key: str, *ids: str | int, ahead: int = 0) -> None:
        await _within_timeout(self._enqueue_now(job, key, *ids, penalty=min(ahead * _PENALTY_PER_BATCH, _MAX_PENALTY)))

    async def _enqueue_now(self, job: Job, key: str, *ids: str | int, penalty: float) -> None:
        seconds, microseconds = await self._redis.time()
        enqueued_at = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        await self._redis.enqueue_job(
            job,
            *ids,
            _job_id=f"{job}:{key}:{seconds // _ID_LIFETIME}",
            _queue_name=job.queue,
            _defer_until=enqueued_at + timedelta(seconds=penalty) - _IN_THE_PAST,
            _expires=_JOB_LIFETIME,
        )


async def _within_timeout(work: Coroutine[Any, Any, object]) -> None:
    """Wait for `work`, at most `_TIMEOUT` seconds. Raises Unavailable.

    `work` is several Redis commands, each with a timeout of its own. If Redis hangs, a cancelled command ends only at
    that timeout, so this function does not wait for the cancelled task.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_retrieve_exception)
    try:
        done, _ = await asyncio.wait({task}, timeout=_TIMEOUT)
        if not done:
            raise Unavailable("Redis")
        task.result()
    except (WrongRedis, *REDIS_FAILURES) as error:
        raise redis_unavailable(error) from error
    finally:
        task.cancel()


def _retrieve_exception(task: asyncio.Future[object]) -> None:
    """Retrieves the exception, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()
