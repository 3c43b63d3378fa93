"""One result for all callers within a second, so that callers cannot multiply the work behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

T = TypeVar("T")
SECONDS = 1.0


class SharedResult(Generic[T]):
    """Runs the work at most once at a time, and keeps its result for `seconds`. An error is not kept."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[T] | None = None
        self._until = 0.0

    async def get(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The last result, or that of the work. The work goes on if the caller is cancelled. Raises what the work
        raises."""
        now = asyncio.get_running_loop().time()
        if self._task is None or (self._task.done() and (now >= self._until or self._task.exception() is not None)):
            self._task = asyncio.create_task(self._run(work))
        return await asyncio.shield(self._task)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        result = await work()
        self._until = asyncio.get_running_loop().time() + self._seconds
        return result
