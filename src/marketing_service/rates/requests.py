"""The limits of the API: counted in Redis for all processes, and in this process while Redis does not answer."""

from __future__ import annotations

import asyncio
import time
from hashlib import blake2b
from typing import TYPE_CHECKING

import structlog
from redis.asyncio import Redis

from marketing_service.ports import Quota, Verdict
from marketing_service.rates.local import LocalWindows
from marketing_service.rates.window import TAKE, arguments
from marketing_service.redis_access import REDIS_FAILURES, RedisAddress, redis_unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from typing import Any

    from marketing_service.ports import Limit, Rate

TIMEOUT = 0.25
"""Seconds that a request waits for Redis. After that this process counts alone, and no further request waits."""
RETRY_SECONDS = 1.0
"""The pause between two attempts to reach Redis again."""

log = structlog.get_logger(__name__)


def limiter_redis(url: str) -> Redis:
    """A client for RequestRates, with a pool of its own: its time limit is shorter than that of the job queue. Opens no
    connection yet."""
    return Redis(connection_pool=RedisAddress.parse(url).pool(timeout=TIMEOUT))


class RequestRates:
    """RequestLimiter, with one round trip to Redis for each call.

    If Redis fails or is slow, this process counts alone, with the same limits, until Redis answers again. A task in the
    background finds that out, so no request waits for it. Counts are not moved between Redis and this process.
    """

    def __init__(self, redis: Redis, rates: Mapping[Limit, Sequence[Rate]], *, timeout: float = TIMEOUT) -> None:
        self._redis = redis
        self._script = redis.register_script(TAKE)
        self._rates = rates
        self._timeout = timeout
        self._windows = LocalWindows()
        self._local = False
        self._next_probe = 0.0
        self._tasks: set[asyncio.Future[Any]] = set()
        self._probe: asyncio.Future[None] | None = None

    @property
    def local(self) -> bool:
        return self._local

    def rates(self, limit: Limit) -> Sequence[Rate]:
        return self._rates.get(limit, ())

    async def take(self, limit: Limit, whose: str, wanted: int = 1) -> Verdict:
        """See RequestLimiter. Raises nothing."""
        rates = self.rates(limit)
        if not rates:
            return Verdict(allowed=True)
        # A digest: keys have a bounded length, and the ids and addresses of people are not readable in Redis.
        key = f"marketing:limit:{limit}:{blake2b(whose.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"
        if not self._local:
            try:
                return await self._take_shared(key, rates, wanted)
            except REDIS_FAILURES as error:
                self._go_local(error)
        self._probe_if_due()
        return self._windows.take(key, rates, wanted)

    async def aclose(self) -> None:
        """End the tasks in the background. Call it before the client of Redis is closed."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take_shared(self, key: str, rates: Sequence[Rate], wanted: int) -> Verdict:
        keys = [f"{key}:{rate.seconds}" for rate in rates]
        call = self._script(keys=keys, args=arguments(rates, wanted, least=wanted))
        granted, wait, *state = await self._within(call)
        quotas = tuple(
            Quota(rate, left, reset / 1_000_000)
            for rate, left, reset in zip(rates, state[::2], state[1::2], strict=True)
        )
        return Verdict(granted == wanted, wait / 1_000_000, quotas)

    async def _within(self, call: Awaitable[Any]) -> Any:
        """The result, at most `timeout` seconds later; else TimeoutError.

        A call that is cancelled while Redis hangs may take longer to end, so it is not waited for.
        """
        task = self._started(asyncio.ensure_future(call))
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        finally:
            task.cancel()
        if not done:
            raise TimeoutError(f"no answer within {self._timeout:g} s")
        return task.result()

    def _started(self, task: asyncio.Future[Any]) -> asyncio.Future[Any]:
        self._tasks.add(task)  # the event loop keeps only weak references
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it

    def _go_local(self, error: BaseException) -> None:
        if self._local:
            return  # another request has found it at the same time
        self._local = True
        self._windows.clear()
        self._next_probe = time.monotonic() + RETRY_SECONDS
        outage = redis_unavailable(error)
        log.warning("request_limits_counted_locally", reason=outage.detail, error=outage.cause)

    def _probe_if_due(self) -> None:
        if time.monotonic() < self._next_probe or (self._probe is not None and not self._probe.done()):
            return
        self._probe = self._started(asyncio.ensure_future(self._look_for_redis()))

    async def _look_for_redis(self) -> None:
        try:
            # A write: a server that answers may still refuse the counts.
            await self._within(self._redis.set("marketing:limit:probe", 1, ex=60))
        except REDIS_FAILURES:
            self._next_probe = time.monotonic() + RETRY_SECONDS
            return
        self._local = False
        self._windows.clear()
        log.info("request_limits_shared_again")
