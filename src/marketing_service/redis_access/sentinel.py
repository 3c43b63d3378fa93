"""Connections to the primary that Sentinel names. After a failover they lead to the new one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis


_SILENCE = (RedisConnectionError, RedisTimeoutError)


class ConcurrentSentinel(Sentinel):
    """Asks all Sentinels at the same time, so that one that hangs uses up no caller's time limit. The library asks one
    after the other."""

    def __init__(self, sentinels: Sequence[tuple[str, int]], sentinel_kwargs: Mapping[str, Any]) -> None:
        super().__init__(sentinels, sentinel_kwargs=sentinel_kwargs)  # type: ignore[no-untyped-call] # redis has no types here
        self._ending: set[asyncio.Task[tuple[str, int]]] = set()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """The address of the primary, from the first Sentinel that knows one. Raises MasterNotFoundError."""
        asked = [asyncio.create_task(self._ask(sentinel, service_name)) for sentinel in self.sentinels]
        failures = []
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except (RedisError, OSError) as error:
                    failures.append(error)
        finally:
            for task in asked:
                self._ending.add(task)
                task.add_done_callback(self._ended)
                task.cancel()  # not awaited: if the Sentinel hangs, its connection may take a while to close
        # The answer of a Sentinel says more than the silence of another one.
        said = next((failure for failure in failures if type(failure) not in _SILENCE), failures[0])
        raise MasterNotFoundError("; ".join(str(failure) for failure in failures)) from said

    async def aclose(self) -> None:
        await asyncio.gather(*self._ending, return_exceptions=True)
        for sentinel in self.sentinels:
            await sentinel.aclose(close_connection_pool=True)

    async def _ask(self, sentinel: Redis, service: str) -> tuple[str, int]:
        primaries: Mapping[str, dict[str, Any]] = await sentinel.sentinel_masters()  # type: ignore[no-untyped-call] # redis has no types here
        state = primaries.get(service)
        if state is None:
            raise MasterNotFoundError(f"a Sentinel does not know the service {service!r}")
        if not self.check_master_state(state, service):
            raise MasterNotFoundError(f"a Sentinel says that the primary of {service!r} is down")
        return state["ip"], state["port"]

    def _ended(self, task: asyncio.Task[tuple[str, int]]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it


class PrimaryPool(SentinelConnectionPool):
    """Closes its connections to the Sentinels, too."""

    sentinel_manager: ConcurrentSentinel

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        if inuse_connections:  # the client is closed; else the primary has changed
            await self.sentinel_manager.aclose()
