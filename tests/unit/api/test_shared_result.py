"""One result for all callers within a second."""

from __future__ import annotations

import asyncio

import pytest

from marketing_service.api.shared_result import SharedResult


class Work:
    def __init__(self) -> None:
        self.runs = 0
        self.go_on = asyncio.Event()

    async def __call__(self) -> int:
        self.runs += 1
        run = self.runs
        await self.go_on.wait()
        return run


async def test_callers_at_the_same_time_and_shortly_after_cause_one_run() -> None:
    work, shared = Work(), SharedResult[int](60.0)
    waiting = [asyncio.ensure_future(shared.get(work)) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # a caller that leaves ends nothing
    work.go_on.set()
    assert set(await asyncio.gather(*waiting[1:])) == {1}
    assert await shared.get(work) == 1
    assert work.runs == 1


async def test_after_its_time_the_work_runs_again() -> None:
    work, shared = Work(), SharedResult[int](0.0)
    work.go_on.set()
    assert [await shared.get(work), await shared.get(work)] == [1, 2]


async def test_an_error_is_not_kept() -> None:
    shared = SharedResult[int](60.0)

    async def fails() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await shared.get(fails)
    work = Work()
    work.go_on.set()
    assert await shared.get(work) == 1
