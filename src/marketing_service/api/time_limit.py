"""Waiting no longer than a recipient would, for work that is better finished late than broken off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Patience:
    """Runs work for callers who leave after a while. The work goes on without them: breaking off a statement on a
    server that hangs takes as long as waiting for it."""

    def __init__(self) -> None:
        # The event loop itself holds tasks only weakly.
        self._running: set[asyncio.Task[Any]] = set()

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns. Raises Unavailable when it fails, for whatever reason, or takes longer."""
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
