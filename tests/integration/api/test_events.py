"""The event stream of a campaign: what it sends, what it costs, and what ends it. The streams are called as a server
calls them, so that a test decides when the client reads."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from marketing_service.api.app import create_app
from marketing_service.api.event_stream import ProgressStream, encode
from marketing_service.api.progress_feeds import ProgressFeeds
from marketing_service.api.stream_slots import StreamSlots
from marketing_service.auth import Principal
from marketing_service.errors import NotFound, RateLimited, Unavailable
from tests.integration.api.support import assert_problem, client_of, path, token
from tests.support.ledger import launched
from tests.support.steps import claim, deliver_all, mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from starlette.types import Message

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database, Transaction

SCOPE: dict[str, Any] = {"type": "http"}


class Reads:
    """The transactions of the API: counted, and refused while `is_down`. PostgreSQL itself is not stopped, because the
    other tests use it."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.number = 0
        self.is_down = False
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def transaction(self, org_id: str | None = None) -> AsyncIterator[Transaction]:
        self.number += 1
        self._changed.set()
        if self.is_down:
            raise Unavailable("PostgreSQL")
        async with self._resources.transactions(org_id) as tx:
            yield tx

    async def more(self, number: int) -> None:
        """Wait until so many more have begun."""
        wanted = self.number + number
        async with asyncio.timeout(30):
            while self.number < wanted:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def reads(resources: Resources) -> Reads:
    return Reads(resources)


@pytest.fixture
async def feeds(reads: Reads) -> AsyncIterator[ProgressFeeds]:
    feeds = ProgressFeeds(reads.transaction, encode, seconds=0.05)
    yield feeds
    await feeds.aclose()


class Stream:
    """One open stream. With `slow`, the client reads nothing until `read_on` is set."""

    def __init__(
        self,
        feeds: ProgressFeeds,
        campaign_id: UUID,
        *,
        slots: StreamSlots | None = None,
        org_id: str = "acme",
        valid_seconds: float = 900,
        heartbeat_seconds: float = 60,
        slow: bool = False,
    ) -> None:
        caller = Principal("ada", org_id, frozenset(), None, may_write=False, expires_at=time.time() + valid_seconds)
        response = ProgressStream(
            feeds,
            slots or StreamSlots(),
            caller=caller,
            campaign_id=campaign_id,
            heartbeat_seconds=heartbeat_seconds,
        )
        self.messages: list[Message] = []
        self.read_on = asyncio.Event()
        if not slow:
            self.read_on.set()
        self.gone = asyncio.Event()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(response(SCOPE, self._receive, self._send))
        self.task.add_done_callback(lambda _: self._changed.set())

    async def _receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and b"event:" in message["body"]:
            await self.read_on.wait()
        self.messages.append(message)
        self._changed.set()

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    def events(self, name: str = "stats") -> list[dict[str, Any]]:
        blocks = [block.split("\n") for block in self.text.split("\n\n")]
        return [
            json.loads(data.removeprefix("data: "))
            for first, *rest in blocks
            if first == f"event: {name}"
            for data in rest
        ]

    async def until(self, wanted: str, times: int = 1) -> None:
        """Wait until this text was sent so many times."""
        async with asyncio.timeout(30):
            while self.text.count(wanted) < times:
                assert not self.task.done(), self.text
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> None:
        """Wait until the stream has ended by itself. Raises what it raises."""
        await asyncio.wait_for(self.task, 30)

    async def leave(self) -> None:
        self.gone.set()
        await self.end()


async def touch(owner: Database, campaign_id: UUID) -> None:
    """Change the stats."""
    await execute(
        owner, "UPDATE marketing_campaigns SET unsubscribes = unsubscribes + 1 WHERE id = :id", id=campaign_id
    )


async def execute(owner: Database, statement: str, **values: Any) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text(statement), values)


async def test_the_stats_come_at_once_then_each_change_then_done(
    feeds: ProgressFeeds, owner: Database, admin: httpx.AsyncClient
) -> None:
    campaign_id = await launched(owner, 9)
    stream = Stream(feeds, campaign_id)
    await stream.until("event: stats")
    (first,) = stream.events()
    assert first == (await admin.get(path(campaign_id, "/stats"))).json()
    await deliver_all(owner, campaign_id)
    await stream.end()
    last = stream.events()[-1]
    assert {"ratePerSecond", "status"} <= last.keys()
    assert {**last, "ratePerSecond": 0} == (await admin.get(path(campaign_id, "/stats"))).json() | {"ratePerSecond": 0}
    assert stream.events("done") == [{"status": "SENT"}]
    assert stream.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_nothing_is_sent_again_that_has_not_changed(feeds: ProgressFeeds, reads: Reads, owner: Database) -> None:
    campaign_id = await launched(owner, 9)
    stream = Stream(feeds, campaign_id)
    await stream.until('"ratePerSecond":0.0')
    await reads.more(5)
    await touch(owner, campaign_id)
    await stream.until('"unsubscribes":1')
    assert len(stream.events()) == 3
    await stream.leave()


async def test_a_stream_without_events_has_a_heartbeat(feeds: ProgressFeeds, owner: Database) -> None:
    stream = Stream(feeds, await launched(owner, 9), heartbeat_seconds=0.05)
    await stream.until(": heartbeat\n\n", times=3)
    await stream.leave()


async def test_many_watchers_share_the_reads(feeds: ProgressFeeds, reads: Reads, owner: Database) -> None:
    campaign_id = await launched(owner, 9)
    slots = StreamSlots(most_of_user=200)
    streams = [Stream(feeds, campaign_id, slots=slots) for _ in range(200)]
    for number in range(1, 4):
        await touch(owner, campaign_id)
        for stream in streams:
            await stream.until(f'"unsubscribes":{number}')
    assert len({stream.events()[-1]["unsubscribes"] for stream in streams}) == 1
    assert (feeds.watched, slots.open) == (1, 200)
    assert reads.number < 200
    for stream in streams[1:]:
        await stream.leave()
    assert (feeds.watched, slots.open) == (1, 1)
    await streams[0].leave()
    assert (feeds.watched, slots.open) == (0, 0)
    await feeds.aclose()
    read = reads.number
    await touch(owner, campaign_id)
    assert reads.number == read


async def test_a_watcher_who_comes_later_causes_no_read(feeds: ProgressFeeds, reads: Reads, owner: Database) -> None:
    campaign_id = await launched(owner, 9)
    first = Stream(feeds, campaign_id)
    await first.until("event: stats")
    reads.is_down = True
    second = Stream(feeds, campaign_id)
    await second.until("event: stats")
    for stream in (first, second):
        await stream.leave()


async def test_another_organisation_finds_nothing_while_the_campaign_is_watched(
    feeds: ProgressFeeds, owner: Database
) -> None:
    campaign_id = await launched(owner, 9)
    stream = Stream(feeds, campaign_id)
    await stream.until("event: stats")
    stranger = Stream(feeds, campaign_id, org_id="globex")
    with pytest.raises(NotFound):
        await stranger.end()
    assert stranger.messages == []
    assert feeds.watched == 1
    await stream.leave()


async def test_a_slow_reader_gets_the_newest_stats_and_none_of_those_before(
    feeds: ProgressFeeds, owner: Database
) -> None:
    campaign_id = await launched(owner, 9)
    slow, quick = Stream(feeds, campaign_id, slow=True), Stream(feeds, campaign_id)
    for number in range(1, 6):
        await touch(owner, campaign_id)
        await quick.until(f'"unsubscribes":{number}')
    slow.read_on.set()
    await slow.until('"unsubscribes":5')
    assert len(slow.events()) <= 3
    for stream in (slow, quick):
        await stream.leave()


async def test_the_end_of_the_token_ends_the_stream(feeds: ProgressFeeds, owner: Database) -> None:
    stream = Stream(feeds, await launched(owner, 9), valid_seconds=0.3)
    await stream.end()
    assert stream.events()
    assert not stream.events("done")
    assert not stream.messages[-1]["more_body"]


@pytest.mark.parametrize("slow", [False, True])
async def test_a_service_that_stops_ends_its_streams_at_once(feeds: ProgressFeeds, owner: Database, slow: bool) -> None:
    campaign_id = await launched(owner, 9)
    slots = StreamSlots()
    stream, other = Stream(feeds, campaign_id, slots=slots, slow=slow), Stream(feeds, campaign_id, slots=slots)
    await other.until("event: stats")
    feeds.stop()
    await stream.end()
    await other.end()
    assert not other.events("done")
    assert (feeds.watched, slots.open) == (0, 0)
    with pytest.raises(Unavailable, match="is stopping"):
        await Stream(feeds, campaign_id).end()


async def test_while_postgresql_is_down_a_stream_waits(feeds: ProgressFeeds, reads: Reads, owner: Database) -> None:
    campaign_id = await launched(owner, 9)
    stream = Stream(feeds, campaign_id)
    await stream.until("event: stats")
    reads.is_down = True
    await reads.more(3)
    await touch(owner, campaign_id)
    reads.is_down = False
    await stream.until('"unsubscribes":1')
    await stream.leave()


async def test_a_stream_that_cannot_begin_says_why(feeds: ProgressFeeds, reads: Reads, owner: Database) -> None:
    reads.is_down = True
    with pytest.raises(Unavailable):
        await Stream(feeds, await launched(owner, 9)).end()
    assert feeds.watched == 0


async def test_the_draft_that_is_deleted_ends_the_stream(
    feeds: ProgressFeeds, owner: Database, admin: httpx.AsyncClient
) -> None:
    created = await admin.post(
        "/api/marketing/campaigns", json={"name": "A", "subject": "A", "fromEmail": "a@acme.example"}
    )
    campaign_id = UUID(created.json()["id"])
    stream = Stream(feeds, campaign_id)
    await stream.until('"status":"DRAFT"')
    assert (await admin.delete(path(campaign_id))).status_code == 204
    await stream.end()
    assert not stream.events("done")


async def test_the_streams_of_a_user_and_of_the_process_have_a_limit(feeds: ProgressFeeds, owner: Database) -> None:
    campaign_id = await launched(owner, 9)
    slots = StreamSlots(most=2, most_of_user=1)
    ada = Stream(feeds, campaign_id, slots=slots)
    await ada.until("event: stats")
    with pytest.raises(RateLimited) as limited:
        await Stream(feeds, campaign_id, slots=slots).end()
    assert limited.value.retry_after
    with slots.hold("globex", "ada"), pytest.raises(Unavailable) as full, slots.hold("globex", "bob"):
        pass
    assert full.value.retry_after
    await ada.leave()
    again = Stream(feeds, campaign_id, slots=slots)
    await again.until("event: stats")
    await again.leave()


async def test_a_stall_is_shown_with_the_time_of_the_last_delivery(
    feeds: ProgressFeeds, owner: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await launched(owner, 9)
    held, sends = await claim(owner, campaign_id)
    await mark(owner, held, sends[0])
    await execute(
        owner, "UPDATE marketing_campaigns SET launched_at = '2026-05-04T09:30:00Z' WHERE id = :id", id=campaign_id
    )
    monkeypatch.setattr("marketing_service.campaigns.progress.STALL_SECONDS", 0.1)
    stream = Stream(feeds, campaign_id)
    await stream.until('"stalledSince":"2026-05-04T09:30:00Z"')
    await stream.leave()


class TestOverHttp:
    """Through the application: the problems, and the headers of a stream that ends at once."""

    @pytest.fixture
    async def client(self, resources: Resources) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(dataclasses.replace(resources), response_seconds=60)
        async with client_of(app, token()) as client:
            yield client

    async def test_no_proxy_stores_delays_or_compresses_it(self, client: httpx.AsyncClient, owner: Database) -> None:
        campaign_id = await launched(owner, 9)
        await deliver_all(owner, campaign_id)
        response = await client.get(path(campaign_id, "/events"), headers={"Accept-Encoding": "gzip"})
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        assert not {"content-encoding", "content-length"} & response.headers.keys()
        assert response.text.endswith('event: done\ndata: {"status": "SENT"}\n\n')
        assert response.text.startswith("retry: ")

    async def test_an_unknown_campaign_is_a_problem(self, client: httpx.AsyncClient) -> None:
        assert_problem(await client.get(path(uuid4(), "/events")), 404, "not-found")

    async def test_a_query_is_refused(self, client: httpx.AsyncClient, owner: Database) -> None:
        response = await client.get(path(await launched(owner, 9), "/events?interval=5"))
        assert_problem(response, 422, "invalid-input", "interval")
