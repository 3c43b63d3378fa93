"""Limits how long a caller waits for work that should finish even if nobody waits for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
log = structlog.get_logger(__name__)


class TimeLimit:
    """Runs work for callers that wait a limited time. The work continues after the limit, because cancelling a
    statement on a server that hangs takes as long as waiting for it."""

    def __init__(self) -> None:
        # The event loop keeps only weak references to tasks.
        self._running: set[asyncio.Task[Any]] = set()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """The result of the work. Raises Unavailable if the work fails, for any reason, or takes longer."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done or task.exception() is not None:
            raise Unavailable("The service")
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("public_request_failed", error=f"{type(error).__name__}: {error}")
