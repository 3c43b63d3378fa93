"""The small parts around the engine: the job queue, the rate limiter, and the message."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from marketing_service.errors import Unavailable
from marketing_service.ports import Allowance
from simulation.loop import WORLD

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.ports import QueuedBatch
    from marketing_service.rendering import RecipientData
    from simulation.inspector import Inspector
    from simulation.loop import VirtualLoop

_WINDOW = 2.0


class Queue:
    """The job queue of all workers. While it is away, jobs are lost."""

    def __init__(self, loop: VirtualLoop, order: random.Random, latency: float) -> None:
        self.is_away = False
        self._loop = loop
        self._order = order
        self._latency = latency
        self._jobs: list[QueuedBatch] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enqueue_batches(self, queued: Sequence[QueuedBatch]) -> None:
        """See JobQueue."""
        if self.is_away:
            raise Unavailable("Redis")
        self._loop.call_in(WORLD, self._order.random() * self._latency, self._add, list(queued))

    def _add(self, queued: list[QueuedBatch]) -> None:
        self._jobs += queued
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def stop(self) -> None:
        """It goes away, and forgets what it had."""
        self.is_away = True
        self._jobs.clear()

    def start(self) -> None:
        self.is_away = False

    async def take(self) -> QueuedBatch:
        """The next job, once there is one. Jobs come in any order."""
        while not self._jobs:
            future: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(future)
            await future
        return self._jobs.pop(self._order.randrange(len(self._jobs)))

    async def enqueue_expansion(self, campaign_id: UUID, epoch: int) -> None:
        raise NotImplementedError

    async def enqueue_preflight(self, campaign_id: UUID, epoch: int) -> None:
        raise NotImplementedError

    async def enqueue_test_mail(self, test_mail_id: UUID) -> None:
        raise NotImplementedError

    async def enqueue_opt_outs(self) -> None:
        raise NotImplementedError

    async def enqueue_import(self, import_id: UUID) -> None:
        raise NotImplementedError


class Rates:
    """A rate limiter: so many messages in any two seconds. It needs the queue's server."""

    def __init__(self, loop: VirtualLoop, queue: Queue, inspector: Inspector, messages: int) -> None:
        self._loop = loop
        self._queue = queue
        self._inspector = inspector
        self._messages = messages
        self._taken: deque[float] = deque()

    async def take(self, org_id: str, wanted: int) -> Allowance:
        """See RateLimiter."""
        del org_id
        await asyncio.sleep(0.001)
        if self._queue.is_away:
            raise Unavailable("Redis")
        now = self._loop.time()
        while self._taken and self._taken[0] <= now - _WINDOW:
            self._taken.popleft()
        granted = min(wanted, self._messages - len(self._taken))
        self._taken.extend([now] * granted)
        self._inspector.granted += granted
        wait = self._taken[0] + _WINDOW - now if granted < wanted else 0.0
        return Allowance(granted, wait)


_LARGE = b"Hello, this is one line of a large message.\r\n" * 3_500
"""More octets than two chunks of `delivery.connection`."""


class Message:
    """A message that is cheap to make, and says whom it is for."""

    from_address = "news@example.com"
    links: tuple[str, ...] = ()

    def __init__(self, *, is_large: bool) -> None:
        self._end = _LARGE if is_large else b""

    def render(self, personal: RecipientData, *, eight_bit: bool) -> bytes:
        del eight_bit
        start = f"Message-ID: <{personal.send_id.hex}@example.com>\r\n\r\n.Hello\r\n.\r\n"
        return start.encode("ascii") + self._end


class Messages:
    """In the place of `sending.messages`: nothing is compiled."""

    def __init__(self, *, are_large: bool) -> None:
        self._message = Message(is_large=are_large)

    async def of_launched(self, campaign_id: UUID) -> Message:
        del campaign_id
        await asyncio.sleep(0)
        return self._message
