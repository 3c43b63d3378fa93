"""Server-sent events (WHATWG HTML §9.2): the live progress of one campaign, as a response that goes on."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from marketing_service.api.progress_feeds import nothing
from marketing_service.api.responses_progress import ProgressResponse

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.types import Receive, Scope, Send

    from marketing_service.api.progress_feeds import ProgressFeeds, Watcher
    from marketing_service.api.stream_slots import StreamSlots
    from marketing_service.auth import Principal
    from marketing_service.campaigns.progress import Progress

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
"""A stream without events gets a comment so often. Proxies end a connection without traffic, often after 60 s."""
MAX_SECONDS = 3600.0
"""A stream ends after so long, even if the token is still valid. The client opens a new one."""
_RETRY_MILLISECONDS = (1_000, 5_000)
"""After the end, a client waits for a random time in this range, so that a thousand do not come back together."""
_END_SECONDS = 1.0
_HEARTBEAT = b": heartbeat\n\n"
_HEADERS = {
    # A proxy that buffers or compresses would pass the events on late. nginx reads the second one.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


def event(name: str, data: str) -> bytes:
    """One event; `data` has no line ends."""
    return f"event: {name}\ndata: {data}\n\n".encode()


def encode(progress: Progress) -> bytes:
    """The events for this progress: `stats`, and `done` if the sending has ended."""
    stats = event("stats", ProgressResponse.of_progress(progress).model_dump_json(by_alias=True, exclude_none=True))
    if not progress.is_final:
        return stats
    return stats + event("done", json.dumps({"status": progress.snapshot.status}))


class ProgressStream(Response):
    """The events of one campaign, until the sending ends, the token expires, the client leaves or the service stops.

    Errors of the first read (NotFound, Unavailable, RateLimited) are raised before the response starts.
    """

    media_type = MEDIA_TYPE
    charset = "utf-8"

    def __init__(
        self,
        feeds: ProgressFeeds,
        slots: StreamSlots,
        *,
        caller: Principal,
        campaign_id: UUID,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feeds = feeds
        self._slots = slots
        self._caller = caller
        self._campaign_id = campaign_id
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        caller = self._caller
        with self._slots.hold(caller.org_id, caller.subject):
            async with self._feeds.watch(caller.org_id, self._campaign_id) as watcher:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                gone = asyncio.create_task(_stop_when_gone(receive, watcher))
                try:
                    await self._write_until_the_end(watcher, send)
                finally:
                    gone.cancel()
                    with suppress(asyncio.CancelledError):
                        await gone
        # A client that reads nothing must not delay the end.
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write_until_the_end(self, watcher: Watcher, send: Send) -> None:
        async def write(octets: bytes) -> None:
            await send({"type": "http.response.body", "body": octets, "more_body": True})

        # Everything that ends the stream from outside moves this deadline. So a write that waits for a slow client
        # ends, too.
        try:
            async with asyncio.timeout(min(MAX_SECONDS, self._caller.expires_at - time.time())) as limit:
                watcher.on_stop = partial(_end_now, limit)
                await write(f"retry: {random.randint(*_RETRY_MILLISECONDS)}\n\n".encode())  # noqa: S311 - no secret
                while not watcher.is_stopped:
                    update = await watcher.next(self._heartbeat_seconds)
                    await write(_HEARTBEAT if update is None else update.octets)
                    if update is not None and update.is_final:
                        return
        except TimeoutError:
            return
        finally:
            watcher.on_stop = nothing


def _end_now(limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time())


async def _stop_when_gone(receive: Receive, watcher: Watcher) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watcher.stop()
