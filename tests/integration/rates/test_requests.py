"""The limits of the API: one round trip each, shared in Redis, counted locally while Redis is away or slow."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import structlog

from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ports import Limit, Rate
from marketing_service.queue import connect
from marketing_service.rates import RequestRates, limiter_redis
from marketing_service.rates.requests import TIMEOUT
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


@asynccontextmanager
async def limiter(url: str, *rates: Rate) -> AsyncIterator[RequestRates]:
    """The limiter of one process."""
    redis = limiter_redis(url)
    opened = RequestRates(redis, {Limit.TOKEN: rates})
    try:
        yield opened
    finally:
        await opened.aclose()
        await redis.aclose(close_connection_pool=True)


async def taken(limiter: RequestRates, times: int) -> list[bool]:
    return [(await limiter.take(Limit.TOKEN, "ada")).allowed for _ in range(times)]


async def test_it_takes_all_or_nothing_and_says_what_is_left(redis_url: str) -> None:
    async with limiter(redis_url, Rate(5, 60), Rate(100, 3600)) as limits:
        first = await limits.take(Limit.TOKEN, "ada", 3)
        refused = await limits.take(Limit.TOKEN, "ada", 3)
        last = await limits.take(Limit.TOKEN, "ada", 2)
    assert (first.allowed, [quota.left for quota in first.quotas]) == (True, [2, 97])
    assert (refused.allowed, [quota.left for quota in refused.quotas]) == (False, [2, 97])
    assert 0 < refused.wait <= 60 * 33 / 32
    assert 0 < refused.quotas[1].reset <= 3600 * 33 / 32
    assert (last.allowed, [quota.left for quota in last.quotas]) == (True, [0, 95])


async def test_the_wait_is_until_enough_slices_have_left(redis_url: str) -> None:
    """Two slices hold one each. To take two, both must leave."""
    async with limiter(redis_url, Rate(2, 1)) as limits:
        await limits.take(Limit.TOKEN, "ada")
        await asyncio.sleep(0.2)
        await limits.take(Limit.TOKEN, "ada")
        one = await limits.take(Limit.TOKEN, "ada", 1)
        both = await limits.take(Limit.TOKEN, "ada", 2)
        assert both.wait - one.wait > 0.15
        await asyncio.sleep(both.wait)
        assert (await limits.take(Limit.TOKEN, "ada", 2)).allowed


async def test_a_request_is_one_round_trip_for_all_rates(redis_url: str) -> None:
    redis = connect(redis_url)
    async with limiter(redis_url, Rate(50, 1), Rate(500, 60), Rate(5000, 3600)) as limits:
        await taken(limits, 1)  # loads the script
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        processed = (await redis.info("stats"))["total_commands_processed"]
        await taken(limits, 10)
        after = await redis.info("stats")
        assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before == 10
        # Each script is one command and its own calls are counted too: TIME, and for each rate three.
        assert after["total_commands_processed"] - processed <= 10 * (1 + 1 + 3 * 3) + 3
    await redis.aclose(close_connection_pool=True)


async def test_keys_name_nobody_and_expire(redis_url: str) -> None:
    redis = connect(redis_url)
    async with limiter(redis_url, Rate(5, 60)) as limits:
        await limits.take(Limit.TOKEN, "ada@example.com " * 1000)
        await limits.take(Limit.TOKEN, "\ud800")
        keys = await redis.keys("*")
        assert len(keys) == 2
        assert all(len(key) < 80 and b"ada" not in key for key in keys)
        assert all([0 < await redis.pttl(key) <= 64_000 for key in keys])
    await redis.aclose(close_connection_pool=True)


@pytest.fixture
async def valkey_of_mine(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey that the test stops, freezes and starts."""
    server = ValkeyServer(tmp_path / "valkey")
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


async def test_without_redis_the_process_counts_alone_until_redis_answers(valkey_of_mine: ValkeyServer) -> None:
    server = valkey_of_mine
    with structlog.testing.capture_logs() as logs:
        async with limiter(server.url(), Rate(3, 3600)) as limits:
            assert await taken(limits, 4) == [True, True, True, False]
            await asyncio.to_thread(server.stop)
            assert await taken(limits, 4) == [True, True, True, False]
            assert limits.local
            await asyncio.to_thread(server.start)
            await until(lambda: back(limits))
            # Valkey has restarted empty.
            assert await taken(limits, 4) == [True, True, True, False]
    assert [entry["event"] for entry in logs] == ["request_limits_counted_locally", "request_limits_shared_again"]


async def test_a_frozen_redis_delays_one_request_only(valkey_of_mine: ValkeyServer) -> None:
    server = valkey_of_mine
    async with limiter(server.url(), Rate(1000, 3600)) as limits:
        await taken(limits, 1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            times = await durations(limits, 300)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # The first one waits for the time limit. The others wait for nothing; a busy machine may stop some of them.
        assert sum(seconds > TIMEOUT * 0.8 for seconds in times) <= 5
        await until(lambda: back(limits))


async def durations(limits: RequestRates, times: int) -> Sequence[float]:
    found = []
    for _ in range(times):
        started = time.monotonic()
        await limits.take(Limit.TOKEN, "ada")
        found.append(time.monotonic() - started)
        await asyncio.sleep(0.01)
    return found


async def back(limits: RequestRates) -> bool:
    await limits.take(Limit.TOKEN, "another")
    return not limits.local
