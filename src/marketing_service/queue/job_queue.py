"""Typed enqueueing. A job carries ids alone; losing it loses nothing, because the sweep rings again."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from marketing_service.errors import Unavailable
from marketing_service.queue.jobs import Job, Queue, deserialize, serialize

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from uuid import UUID

    from marketing_service.ports import QueuedBatch

_TIMEOUT = 1.5
"""Seconds for one ring: whoever rings has somebody waiting, and the sweep behind it."""
_MEMORY = 30
"""Seconds after which the same ring is a new one: a queue remembers one whose worker was killed for hours."""


_HEAD_START = 600.0
_PLACE = 60.0
"""Seconds. Everything is queued as if it had come so long ago, less so much for each batch of its campaign that waits
before it: a small campaign's one batch goes before the second of a large one, which has its turn all the same when it
has waited for so much longer."""


def connect(url: str, *, timeout: float = _TIMEOUT) -> ArqRedis:
    """A client for arq's queue that gives up after `timeout` seconds; nothing is opened yet."""
    pool: ConnectionPool = ConnectionPool.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=15
    )
    return ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize, default_queue_name=Queue.SENDING)


class ArqJobQueue:
    """Rings through arq. The same ring, while it waits in the queue, is one job."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def enqueue_expansion(self, campaign_id: UUID, ring: int) -> None:
        """Have a worker expand the campaign. Raises Unavailable."""
        await self._enqueue(Job.EXPAND, f"{campaign_id}:{ring}", str(campaign_id))

    async def enqueue_batches(self, enqueue_count: Sequence[QueuedBatch]) -> None:
        """Have workers send the batches. Raises Unavailable."""
        for ring in enqueue_count:
            await self._enqueue(
                Job.SEND_BATCH,
                f"{ring.campaign_id}:{ring.number}:{ring.ring}",
                str(ring.campaign_id),
                ring.number,
                ahead=ring.ahead,
            )

    async def enqueue_preflight(self, campaign_id: UUID, ring: int) -> None:
        """Have a worker check the campaign. Raises Unavailable."""
        await self._enqueue(Job.CHECK, f"{campaign_id}:{ring}", str(campaign_id))

    async def enqueue_test_mail(self, test_mail_id: UUID) -> None:
        """Have a worker send the test. Raises Unavailable."""
        await self._enqueue(Job.SEND_TEST, str(test_mail_id), str(test_mail_id))

    async def enqueue_opt_outs(self) -> None:
        """Have a worker bring the pending opt-outs to the CRM. Raises Unavailable."""
        await self._enqueue(Job.OPT_OUTS, "due")

    async def ping(self) -> None:
        """Raises Unavailable when Redis does not answer."""
        await _answered(self._redis.ping())

    async def _enqueue(self, job: Job, ring_id: str, *ids: str | int, ahead: int = 0) -> None:
        now = time.time()
        turn = now - _HEAD_START + min(ahead * _PLACE, _HEAD_START)
        await _answered(
            self._redis.enqueue_job(
                job,
                *ids,
                _job_id=f"{job}:{ring_id}:{int(now) // _MEMORY}",
                _queue_name=job.queue,
                _defer_until=datetime.fromtimestamp(turn, UTC),
            )
        )


async def _answered(work: Awaitable[object]) -> None:
    """Wait for `work`, `_TIMEOUT` seconds in all: it is several commands, and against a Redis that hangs it cannot
    even be broken off sooner than the next of them times out."""
    asking = asyncio.ensure_future(work)
    asking.add_done_callback(_look_at)
    try:
        done, _ = await asyncio.wait({asking}, timeout=_TIMEOUT)
        if not done:
            raise Unavailable("Redis")
        asking.result()
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("Redis") from error
    finally:
        asking.cancel()


def _look_at(asked: asyncio.Future[object]) -> None:
    """An error that nobody waited for is no news."""
    if not asked.cancelled():
        asked.exception()
