"""The live progress of campaigns for many watchers: each watched campaign is read once a second in this process,
however many watch it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from marketing_service.campaigns import progress
from marketing_service.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from marketing_service.campaigns.progress import Progress
    from marketing_service.db import Transactions

SECONDS = 1.0
"""The time between two reads of a campaign."""
MAX_READS = 2
"""Reads at the same time in a process, so that other requests find a connection to PostgreSQL. With very many watched
campaigns, each is read less often."""
_GROUP = 50
"""The number of watchers that are woken in one iteration of the event loop, so that other requests do not wait."""

log = structlog.get_logger(__name__)


def nothing() -> None:
    """What a watcher does at its end if nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Update:
    """The progress of a campaign at one moment, and the octets for every watcher."""

    octets: bytes
    is_final: bool


class Watcher:
    """One reader of the updates of a campaign. A slow reader misses updates, and gets the newest one next."""

    def __init__(self) -> None:
        self.update: Update | None = None
        """The newest one that was not taken yet."""
        self.is_stopped = False
        self.on_stop: Callable[[], None] = nothing
        self._changed = asyncio.Event()

    def give(self, update: Update) -> None:
        self.update = update
        self._changed.set()

    def stop(self) -> None:
        """There are no further updates, and the reader ends now."""
        self.is_stopped = True
        self._changed.set()
        self.on_stop()

    async def next(self, seconds: float) -> Update | None:
        """The newest update, as soon as there is one that was not taken; None after `seconds`, or at the end."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        update, self.update = self.update, None
        return update


class ProgressFeeds:
    """The feeds of one application. `encode` makes the octets of an update."""

    def __init__(
        self, transactions: Transactions, encode: Callable[[Progress], bytes], *, seconds: float = SECONDS
    ) -> None:
        self._transactions = transactions
        self._encode = encode
        self._seconds = seconds
        self._reads = asyncio.Semaphore(MAX_READS)
        self._feeds: dict[tuple[str, UUID], _Feed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def watched(self) -> int:
        """The number of campaigns that are read now."""
        return len(self._feeds)

    @asynccontextmanager
    async def watch(self, org_id: str, campaign_id: UUID) -> AsyncIterator[Watcher]:
        """A watcher of this campaign, with the first update. The campaign is read until its last watcher leaves.

        Raises NotFound and Unavailable.
        """
        if self._is_closed:
            raise _stopping()
        # The organisation is part of the key: another organisation never shares a feed, whatever id it names.
        key = (org_id, campaign_id)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = _Feed()
            task = asyncio.create_task(self._run(key, feed))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        watcher = Watcher()
        feed.watchers.add(watcher)
        try:
            await asyncio.shield(feed.first)
            if watcher.update is None and feed.update is not None:
                watcher.give(feed.update)
            yield watcher
        finally:
            feed.watchers.discard(watcher)
            if not feed.watchers:
                self._end(key, feed)

    def stop(self) -> None:
        """End every stream now, and accept no new one."""
        self._is_closed = True
        for key, feed in list(self._feeds.items()):
            self._end(key, feed)

    async def aclose(self) -> None:
        """As `stop`, and wait until no read is in progress."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, key: tuple[str, UUID], feed: _Feed) -> None:
        if self._feeds.get(key) is feed:
            del self._feeds[key]
        feed.ended.set()
        for watcher in list(feed.watchers):
            watcher.stop()

    async def _run(self, key: tuple[str, UUID], feed: _Feed) -> None:
        """Read the campaign until the feed ends. A read is never interrupted: that would cost its connection."""
        loop = asyncio.get_running_loop()
        try:
            while not feed.ended.is_set():
                started = loop.time()
                await self._read(key, feed)
                try:
                    async with asyncio.timeout_at(started + self._seconds):
                        await feed.ended.wait()
                except TimeoutError:
                    continue
        except Exception as error:
            if feed.first.done():
                log.exception("progress_not_read", campaign_id=str(key[1]))
            feed.fail(error)
        finally:
            feed.fail(_stopping())
            self._end(key, feed)

    async def _read(self, key: tuple[str, UUID], feed: _Feed) -> None:
        """Raises what the first read raises. Later, while PostgreSQL is down, the watchers wait."""
        org_id, campaign_id = key
        is_first = not feed.first.done()
        try:
            async with self._reads, self._transactions(org_id) as tx:
                snapshot, delivered_at = await progress.read(tx, org_id, campaign_id, first=is_first)
        except NotFound as error:  # at a later read: the draft was deleted
            feed.fail(error)
            feed.ended.set()
            return
        except Unavailable as error:
            if is_first:
                feed.fail(error)
                feed.ended.set()
            return
        seconds = asyncio.get_running_loop().time()
        now = feed.meter.add(snapshot, seconds=seconds, now=datetime.now(UTC), delivered_at=delivered_at)
        update = Update(self._encode(now), now.is_final)
        if update != feed.update:
            feed.update = update
            await feed.publish(update)


def _stopping() -> Unavailable:
    return Unavailable("The service", "The service is stopping. Try again in a few seconds.")


class _Feed:
    """The reads of one campaign, and who gets them."""

    def __init__(self) -> None:
        self.meter = progress.ProgressMeter()
        self.watchers: set[Watcher] = set()
        self.update: Update | None = None
        self.ended = asyncio.Event()
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done after the first read, with its error if it failed."""

    def fail(self, error: Exception) -> None:
        if not self.first.done():
            self.first.set_exception(error)
            self.first.exception()  # so that asyncio does not log it as never retrieved

    async def publish(self, update: Update) -> None:
        if not self.first.done():
            self.first.set_result(None)
        for number, watcher in enumerate(list(self.watchers)):
            if number and number % _GROUP == 0:
                await asyncio.sleep(0)
            watcher.give(update)
