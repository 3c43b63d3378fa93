"""Whether this service can use the server as it is: its kind, its rights, its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import NoPermissionError, ResponseError

from marketing_service.redis_access.failures import CLUSTER, WrongRedis

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

_SECONDS = 60
_WRITE = f"return redis.call('SET', KEYS[1], 1, 'EX', {_SECONDS})"


class ServerCheck:
    """Asks the server what it is, and writes to it as the queue and the rate limits do.

    What it may not ask, it asks once: a server logs every refused command.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._may_ask_kind = True
        self._may_ask_memory = True
        self._warned_of: object = None

    async def run(self) -> None:
        """Raises WrongRedis, or an error of REDIS_FAILURES if the server is down or takes no writes now."""
        if self._may_ask_kind:
            await self._check_kind()
        if self._may_ask_memory:
            await self._check_eviction()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.psetex("arq:marketing:ready", _SECONDS * 1000, 1)
            pipe.zadd("marketing:ready:jobs", {"1": 1})
            pipe.expire("marketing:ready:jobs", _SECONDS)
            pipe.time()
            pipe.eval(_WRITE, 1, "marketing:ready")
            await pipe.execute()

    async def _check_kind(self) -> None:
        try:
            hello = await self._redis.execute_command("HELLO")  # type: ignore[no-untyped-call] # redis has no types here
        except ResponseError as error:
            _log_refusal("redis_kind_unknown", error)
            self._may_ask_kind = False
            return
        mode = _text(dict(zip(hello[::2], hello[1::2], strict=False)).get(b"mode"))
        if mode == "cluster":
            raise WrongRedis(CLUSTER)
        if mode == "sentinel":
            raise WrongRedis("is a Sentinel: write redis+sentinel://host:26379/service/0")

    async def _check_eviction(self) -> None:
        try:
            memory: dict[str, Any] = await self._redis.info("memory")
        except ResponseError as error:
            _log_refusal("redis_eviction_unknown", error)
            self._may_ask_memory = False
            return
        policy = str(memory.get("maxmemory_policy", "noeviction"))
        if not memory.get("maxmemory") or policy == "noeviction":
            return
        if policy.startswith("allkeys-"):
            raise WrongRedis(
                f"deletes any key when its memory is full (maxmemory-policy {policy}), and with it jobs and counts of"
                " rate limits: set noeviction"
            )
        if policy != self._warned_of:
            self._warned_of = policy
            log.warning("redis_evicts", policy=policy)


def _log_refusal(event: str, error: ResponseError) -> None:
    """Raises the error if it says anything else than that the server does not answer this question."""
    if not isinstance(error, NoPermissionError) and "unknown command" not in str(error):
        raise error
    log.info(event, reason=str(error))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
