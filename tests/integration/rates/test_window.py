"""The shared rate limits, with a real Valkey."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.errors import Unavailable
from marketing_service.ports import Rate
from marketing_service.queue import connect
from marketing_service.rates import SharedRates

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


@asynccontextmanager
async def limiter(
    url: str, relay: Sequence[Rate] = (), organisation: Sequence[Rate] = ()
) -> AsyncIterator[SharedRates]:
    """The limiter of one process."""
    redis = connect(url)
    try:
        yield SharedRates(redis, relay=relay, organisation=organisation)
    finally:
        await redis.aclose(close_connection_pool=True)


async def test_two_processes_share_one_limit(redis_url: str) -> None:
    async with limiter(redis_url, [Rate(50, 3600)]) as one, limiter(redis_url, [Rate(50, 3600)]) as other:
        allowances = await asyncio.gather(*(rates.take("acme", 3) for rates in (one, other) * 15))
    assert sum(allowance.granted for allowance in allowances) == 50


async def test_a_partial_grant_says_when_to_request_the_others(redis_url: str) -> None:
    async with limiter(redis_url, [Rate(10, 60)]) as rates:
        first = await rates.take("acme", 7)
        second = await rates.take("acme", 7)
        third = await rates.take("acme", 7)
    assert (first.granted, first.wait) == (7, 0.0)
    assert (second.granted, third.granted) == (3, 0)
    assert 0 < second.wait <= 60 * 33 / 32
    assert 0 < third.wait <= 60 * 33 / 32


async def test_all_limits_must_allow_it_and_only_granted_messages_are_counted(redis_url: str) -> None:
    async with limiter(redis_url, [Rate(20, 60), Rate(30, 3600)], [Rate(8, 60)]) as rates:
        granted = [(await rates.take(org, 15)).granted for org in ("acme", "acme", "other", "third")]
    assert granted == [8, 0, 8, 4], "eight for each organisation, twenty for the relay"


async def test_no_second_contains_more_messages_than_the_limit(redis_url: str) -> None:
    """Checked with the times before and after each call, so that a slow machine cannot make the test fail."""
    calls: list[tuple[float, float, int]] = []
    async with limiter(redis_url, [Rate(20, 1)]) as rates:
        deadline = time.monotonic() + 2.2
        while time.monotonic() < deadline:
            before = time.monotonic()
            granted = (await rates.take("acme", 3)).granted
            calls.append((before, time.monotonic(), granted))
            await asyncio.sleep(0.01)
    for start, _, _ in calls:
        assert sum(granted for before, after, granted in calls if before >= start and after < start + 1) <= 20
    assert sum(granted for _, _, granted in calls) >= 40, "the limit is available again after its window"


async def test_after_the_wait_a_message_is_granted(redis_url: str) -> None:
    async with limiter(redis_url, [Rate(2, 1)]) as rates:
        await rates.take("acme", 2)
        refused = await rates.take("acme", 1)
        assert refused.granted == 0
        await asyncio.sleep(refused.wait)
        assert (await rates.take("acme", 1)).granted == 1


async def test_a_clock_that_was_set_back_does_not_block(redis_url: str) -> None:
    redis: Any = connect(redis_url)
    key = "marketing:rate:relay:3600"
    async with limiter(redis_url, [Rate(5, 3600)]) as rates:
        await rates.take("acme", 5)
        (slice_now,) = await redis.execute_command("HKEYS", key)
        await redis.delete(key)
        await redis.execute_command("HSET", key, int(slice_now) + 10, 5)
        assert (await rates.take("acme", 5)).granted == 5
    await redis.aclose(close_connection_pool=True)


async def test_counters_expire_after_their_window(redis_url: str) -> None:
    redis = connect(redis_url)
    async with limiter(redis_url, [Rate(5, 60)], [Rate(5, 60)]) as rates:
        await rates.take("acme", 5)
        left = [await redis.pttl(key) for key in await redis.keys("marketing:rate:*")]
    await redis.aclose(close_connection_pool=True)
    assert len(left) == 2
    assert all(60_000 < milliseconds <= 64_000 for milliseconds in left)


async def test_nothing_is_granted_while_redis_is_down(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with limiter(valkey.url(), [Rate(5, 60)]) as rates:
            assert (await rates.take("acme", 1)).granted == 1
            valkey.kill()
            with pytest.raises(Unavailable):
                await rates.take("acme", 1)
            valkey.start()
            assert (await rates.take("acme", 1)).granted == 1
