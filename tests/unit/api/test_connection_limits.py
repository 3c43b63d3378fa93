"""The limits of a connection, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Self

import pytest
import uvicorn

from marketing_service.api.body_limits import SUPPRESSIONS_CSV
from marketing_service.api.connection_limits import MAX_HEAD, MAX_HEADERS, MAX_MESSAGE, MAX_URL, LimitedProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


class Quick(LimitedProtocol):
    head_seconds: ClassVar[float] = 0.3
    body_seconds: ClassVar[float] = 0.3


class Impatient(LimitedProtocol):
    read_seconds: ClassVar[float] = 0.2


class Few(LimitedProtocol):
    max_connections: ClassVar[int] = 3


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and waits if the path says so."""
    if scope["path"] in {"/reads", SUPPRESSIONS_CSV}:
        while (await receive()).get("more_body"):
            pass
    if scope["path"] == "/waits":
        await asyncio.Event().wait()
    if scope["path"] == "/large":
        await _send_much(send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


LARGE = 100
PIECE = b"a" * 200_000


async def _send_much(send: Send) -> None:
    """More than the buffers of a connection take."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(LARGE):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(protocol: type[LimitedProtocol] = LimitedProtocol, app: ASGIApp = _app) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, http=protocol, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listening]))  # `serve` replaces the signal handlers of the test
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def all(self) -> bytes:
        """What the server sends until it closes the connection."""
        received = b""
        async with asyncio.timeout(20):
            try:
                while octets := await self._reader.read(65_536):
                    received += octets
            except ConnectionError:  # the server has closed with octets unread
                pass
        return received

    async def response(self) -> bytes:
        """One response with a body of two octets."""
        async with asyncio.timeout(20):
            return await self._reader.readuntil(b"\r\n\r\n") + await self._reader.readexactly(2)


@pytest.mark.parametrize(
    ("request_octets", "status", "problem"),
    [
        (b"GET /" + b"a" * MAX_URL + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414", b"address-too-long"),
        (HEAD + b"X: " + b"a" * MAX_HEAD + b"\r\n\r\n", b"431", b"headers-too-large"),
        (HEAD + b"X: a\r\n" * MAX_HEADERS + b"\r\n", b"431", b"headers-too-large"),
        (HEAD + b"X: " + b"a" * (MAX_HEAD + MAX_URL + 1), b"431", b"headers-too-large"),
    ],
    ids=["url", "one header", "many headers", "a header without end"],
)
async def test_a_large_head_is_refused_and_the_connection_closed(
    request_octets: bytes, status: bytes, problem: bytes
) -> None:
    async with served() as port, Client(port) as client:
        await client.send(request_octets)
        received = await client.all()
    assert received.startswith(b"HTTP/1.1 " + status)
    assert received.count(b"HTTP/1.1") == 1
    assert problem in received


async def test_a_usual_head_and_several_requests_on_one_connection_are_served() -> None:
    head = HEAD + b"Authorization: Bearer " + b"a" * 8_192 + b"\r\n" + b"X: a\r\n" * 50 + b"\r\n"
    async with served() as port, Client(port) as client:
        for _ in range(20):  # together more than the limit of one
            await client.send(head)
            assert (await client.response()).startswith(b"HTTP/1.1 200")


async def test_trailers_count_too() -> None:
    chunked = b"POST /reads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    async with served() as port, Client(port) as client:
        await client.send(chunked + b"X: a\r\n" * MAX_HEADERS)
        assert b"200" not in await client.all()


async def test_a_request_that_never_ends_is_ended() -> None:
    """The sizes of chunks do not count as body, so the limit of the application does not see them."""
    one = b"1;" + b"x" * 60_000 + b"\r\na\r\n"
    async with served() as port, Client(port) as client:
        await client.send(b"POST /reads HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def send_for_ever() -> None:
            while True:
                await client.send(one)

        async with asyncio.timeout(60):
            with pytest.raises(ConnectionError):
                await send_for_ever()


@pytest.mark.parametrize(
    ("path", "served_in_full"), [("/reads", False), (SUPPRESSIONS_CSV, True), (SUPPRESSIONS_CSV + "?a=b", True)]
)
async def test_a_file_may_have_more_octets_than_another_body(path: str, served_in_full: bool) -> None:
    octets = MAX_MESSAGE + 1
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {octets}\r\n\r\n".encode()
    async with served() as port, Client(port) as client:
        receiving = asyncio.create_task(client.response() if served_in_full else client.all())
        try:
            await client.send(head)
            for start in range(0, octets, 100_000):
                await client.send(bytes(min(100_000, octets - start)))
        except ConnectionError:
            assert not served_in_full
        assert (b"HTTP/1.1 200" in await receiving) == served_in_full


async def test_a_file_may_take_longer_than_another_body() -> None:
    """The larger limit of its octets gives it more time, in proportion: ten times as much."""
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    async with served(Quick) as port, Client(port) as other, Client(port) as file:
        await file.send(head % SUPPRESSIONS_CSV.encode())
        await other.send(head % b"/reads")
        assert await other.all() == b""  # its time is over
        await file.send(b"123456789")
        assert b"HTTP/1.1 200" in await file.response()


@pytest.mark.parametrize(
    "slow",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        b"\r\n",
        b"POST /reads HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na",
        # Without its body: the response does not wait for it, and what comes after it keeps no connection open.
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\na",
    ],
    ids=["nothing", "half a head", "an empty line", "half a body", "a body after the response"],
)
async def test_a_slow_connection_is_closed_although_an_octet_comes_now_and_then(slow: bytes) -> None:
    async with served(Quick) as port, Client(port) as client:
        await client.send(slow)

        async def drip() -> None:
            while slow not in (b"", b"\r\n"):
                await asyncio.sleep(0.05)
                try:
                    await client.send(b"a")
                except ConnectionError:
                    return

        dripping = asyncio.create_task(drip())
        await client.all()
        dripping.cancel()


async def test_of_too_many_connections_the_oldest_idle_one_is_closed() -> None:
    async with served(Few) as port, Client(port) as first, Client(port) as second, Client(port) as third:
        await asyncio.sleep(0)
        for client in (third, second):  # both are in use, and idle again
            await client.send(HEAD + b"\r\n")
            await client.response()
        async with Client(port) as fourth:
            assert await first.all() == b""
            await fourth.send(HEAD + b"\r\n")
            assert b"200" in await fourth.response()


async def test_if_all_connections_are_in_use_the_new_one_is_refused() -> None:
    waits = b"GET /waits HTTP/1.1\r\nHost: a\r\n\r\n"
    async with served(Few) as port, Client(port) as first, Client(port) as second, Client(port) as third:
        for client in (first, second, third):
            await client.send(waits)
        await asyncio.sleep(0.5)
        async with Client(port) as fourth:
            received = await fourth.all()
    assert received.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 5" in received


async def test_a_client_that_takes_nothing_of_a_response_is_disconnected() -> None:
    ended = asyncio.Event()

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await _send_much(send)
        ended.set()

    async with served(Impatient, app) as port, Client(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(ended.wait(), 20)  # the rest goes nowhere


async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    async with served(Impatient) as port, Client(port) as client:
        await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        async with asyncio.timeout(60):
            while octets := await client._reader.read(500_000):
                received += len(octets)
                await asyncio.sleep(0.01)
    assert received > LARGE * len(PIECE)
