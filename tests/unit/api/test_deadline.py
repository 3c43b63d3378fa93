"""Responses start in time, or a 503 is sent."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from marketing_service.api.body_limits import MAX_BODY
from marketing_service.api.deadline import DeadlineMiddleware

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {"request_id": "r1"}}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"done"}


class Caller:
    """Sends these messages, each after the given seconds, and stores the response."""

    def __init__(self, *requests: tuple[float, Message]) -> None:
        self._requests = list(requests)
        self.received: list[Message] = []

    async def receive(self) -> Message:
        seconds, message = self._requests.pop(0)
        await asyncio.sleep(seconds)
        return message

    async def send(self, message: Message) -> None:
        self.received.append(message)

    @property
    def status(self) -> int:
        return int(self.received[0]["status"])


async def test_a_response_in_time_is_not_changed() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)

    caller = Caller()
    await DeadlineMiddleware(app, 1)(SCOPE, caller.receive, caller.send)
    assert caller.received == [START, BODY]


async def test_a_response_that_has_started_may_take_longer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0.1)
        await send(BODY)

    caller = Caller()
    await DeadlineMiddleware(app, 0.02)(SCOPE, caller.receive, caller.send)
    assert caller.received == [START, BODY]


async def test_a_hanging_request_gets_a_503_and_its_late_response_is_dropped() -> None:
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await send(START)
        await send(BODY)
        ended.set()

    caller = Caller()
    await DeadlineMiddleware(app, 0.02)(SCOPE, caller.receive, caller.send)
    start, body = caller.received
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (503, b"application/problem+json")
    assert headers[b"retry-after"] == b"5"
    assert json.loads(body["body"])["detail"].startswith("This took longer than 0.02 seconds.")
    go_on.set()
    await asyncio.wait_for(ended.wait(), 5)
    assert len(caller.received) == 2


async def test_each_part_of_the_body_moves_the_deadline() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await send(START)

    more: dict[str, Any] = {"type": "http.request", "body": b"x", "more_body": True}
    caller = Caller(*[(0.15, more)] * 4, (0.15, {**more, "more_body": False}))
    await DeadlineMiddleware(app, 0.4)(SCOPE, caller.receive, caller.send)
    assert caller.status == 200


@pytest.mark.parametrize(("octets", "status"), [(MAX_BODY, 503), (MAX_BODY + 30_000_000, 200)])
async def test_a_body_over_the_usual_limit_gets_more_time(octets: int, status: int) -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if status == 200:
            await asyncio.sleep(0.1)
        else:
            await go_on.wait()
        await send(START)
        await send(BODY)

    caller = Caller((0, {"type": "http.request", "body": bytes(octets), "more_body": False}))
    await DeadlineMiddleware(app, 0.02)(SCOPE, caller.receive, caller.send)
    assert caller.status == status
    go_on.set()


async def test_an_exception_in_time_is_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("a surprise")

    caller = Caller()
    with pytest.raises(KeyError):
        await DeadlineMiddleware(app, 1)(SCOPE, caller.receive, caller.send)
    assert caller.received == []


async def test_a_late_exception_is_not_raised() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        raise KeyError("a surprise")

    caller = Caller()
    await DeadlineMiddleware(app, 0.01)(SCOPE, caller.receive, caller.send)
    assert caller.status == 503
    await asyncio.sleep(0.1)


async def test_cancelling_the_request_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    caller = Caller()
    request = asyncio.create_task(DeadlineMiddleware(app)(SCOPE, caller.receive, caller.send))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.wait_for(ended.wait(), 5)


async def test_only_http_is_changed() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    caller = Caller()
    await DeadlineMiddleware(app)({"type": "lifespan"}, caller.receive, caller.send)
    assert seen == [{"type": "lifespan"}]
