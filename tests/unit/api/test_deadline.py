"""Answers begin in time, or say that they do not."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from marketing_service.api.deadline import Deadline

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {"request_id": "r1"}}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BODY: Message = {"type": "http.response.body", "body": b"done"}


class Caller:
    """Sends these messages, each after so many seconds, and keeps what it is answered."""

    def __init__(self, *requests: tuple[float, Message]) -> None:
        self._requests = list(requests)
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        seconds, message = self._requests.pop(0)
        await asyncio.sleep(seconds)
        return message

    async def send(self, message: Message) -> None:
        self.answers.append(message)

    @property
    def status(self) -> int:
        return int(self.answers[0]["status"])


async def test_what_answers_in_time_is_left_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(BODY)

    caller = Caller()
    await Deadline(app, 1)(SCOPE, caller.receive, caller.send)
    assert caller.answers == [START, BODY]


async def test_an_answer_that_has_begun_may_take_its_time() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0.1)
        await send(BODY)

    caller = Caller()
    await Deadline(app, 0.02)(SCOPE, caller.receive, caller.send)
    assert caller.answers == [START, BODY]


async def test_what_hangs_is_answered_for_and_what_it_says_later_is_dropped() -> None:
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await send(START)
        await send(BODY)
        ended.set()

    caller = Caller()
    await Deadline(app, 0.02)(SCOPE, caller.receive, caller.send)
    start, body = caller.answers
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (503, b"application/problem+json")
    assert headers[b"retry-after"] == b"5"
    assert json.loads(body["body"])["detail"].startswith("This took longer than 0.02 seconds.")
    go_on.set()
    await asyncio.wait_for(ended.wait(), 5)
    assert len(caller.answers) == 2


async def test_a_body_that_still_comes_is_waited_for() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await send(START)

    more: dict[str, Any] = {"type": "http.request", "body": b"x", "more_body": True}
    caller = Caller(*[(0.15, more)] * 4, (0.15, {**more, "more_body": False}))
    await Deadline(app, 0.4)(SCOPE, caller.receive, caller.send)
    assert caller.status == 200


async def test_what_fails_in_time_fails_as_it_would_have() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("a surprise")

    caller = Caller()
    with pytest.raises(KeyError):
        await Deadline(app, 1)(SCOPE, caller.receive, caller.send)
    assert caller.answers == []


async def test_what_fails_too_late_troubles_nobody() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        raise KeyError("a surprise")

    caller = Caller()
    await Deadline(app, 0.01)(SCOPE, caller.receive, caller.send)
    assert caller.status == 503
    await asyncio.sleep(0.1)


async def test_the_work_ends_with_the_request_that_is_broken_off() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    caller = Caller()
    request = asyncio.create_task(Deadline(app)(SCOPE, caller.receive, caller.send))
    await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await asyncio.wait_for(ended.wait(), 5)


async def test_nothing_but_http_is_touched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    caller = Caller()
    await Deadline(app)({"type": "lifespan"}, caller.receive, caller.send)
    assert seen == [{"type": "lifespan"}]
