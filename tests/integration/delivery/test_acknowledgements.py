"""A relay with Nagle's algorithm (RFC 896) sends a second small reply only when the first one is acknowledged."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from marketing_service.delivery.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux has TCP_QUICKACK")


def is_acknowledged_at_once(transport: asyncio.BaseTransport) -> bool:
    """What the kernel does with the next segment that it receives. After a write it delays the acknowledgement."""
    return bool(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


async def connect(server: socket.socket) -> tuple[Wire, asyncio.Transport, socket.socket]:
    loop = asyncio.get_running_loop()
    server.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.getsockname())
    relay, _ = await loop.sock_accept(server)
    return Wire(transport, lambda: None, quit_timeout=1.0), transport, relay


async def test_a_reply_is_acknowledged_at_once_while_others_are_expected(server: socket.socket) -> None:
    wire, transport, relay = await connect(server)
    with relay:
        wire.write(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n", replies=2)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        assert not is_acknowledged_at_once(transport)
        relay.send(b"250 2.1.0 Ok\r\n")
        assert (await wire.read_reply(5.0)).positive
        assert is_acknowledged_at_once(transport)
        relay.send(b"250 2.1.5 Ok\r\n")
        assert (await wire.read_reply(5.0)).positive
        wire.abort()


async def test_the_last_reply_is_acknowledged_with_the_next_command(server: socket.socket) -> None:
    """It would cost a call of the kernel and a packet for nothing."""
    wire, transport, relay = await connect(server)
    with relay:
        wire.write(b"NOOP\r\n", replies=1)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        relay.send(b"250 2.0.0 Ok\r\n")
        assert (await wire.read_reply(5.0)).positive
        assert not is_acknowledged_at_once(transport)
        wire.abort()


async def test_a_closed_wire_leaves_no_socket_open(server: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    server.setblocking(False)
    closed = loop.create_future()
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.getsockname())
    relay, _ = await loop.sock_accept(server)
    with relay:
        wire = Wire(transport, lambda: closed.set_result(None), quit_timeout=1.0)
        wire.abort()
        await closed
        assert await loop.sock_recv(relay, 1) == b"", "the relay sees the end of the connection"
