"""Work with a limit on how long the caller waits."""

import asyncio

import pytest

from marketing_service.api.time_limit import TimeLimit
from marketing_service.errors import Unavailable


async def test_the_result_of_the_work_is_returned() -> None:
    async def work() -> int:
        return 7

    assert await TimeLimit().within(1, work()) == 7


async def test_slow_work_is_unavailable_and_still_finishes() -> None:
    go_on, finished = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        finished.set()

    with pytest.raises(Unavailable):
        await TimeLimit().within(0.01, work())
    go_on.set()
    await asyncio.wait_for(finished.wait(), 1)


async def test_every_failure_is_unavailable() -> None:
    async def work() -> None:
        raise KeyError("a surprise")

    with pytest.raises(Unavailable):
        await TimeLimit().within(1, work())
