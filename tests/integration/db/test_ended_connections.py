"""PostgreSQL ends a connection that is idle, or inside a transaction: the caller sees an outage."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from marketing_service.db import Database
from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TERMINATION = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


class Proxy:
    """Between a client and PostgreSQL. It can send the client what a server sends before it ends a connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: list[asyncio.StreamWriter] = []
        self.connections = 0

    async def terminate(self) -> None:
        """Send the error to every client. The connections stay open for a moment, as they may while a server exits."""
        for client in self._clients:
            client.write(b"E" + (len(_TERMINATION) + 4).to_bytes(4) + _TERMINATION)
        await asyncio.sleep(0.05)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._clients.append(writer)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pump(reader, to_server), self._pump(from_server, writer))

    @staticmethod
    async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while octets := await source.read(65_536):
                sink.write(octets)
        except ConnectionError:
            pass
        finally:
            sink.close()


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[tuple[Proxy, Database]]:
    """A proxy, and a database with one connection through it. A second connection, which checked that sessions are not
    shared, has ended."""
    address = make_url(database_url)
    assert address.port is not None
    proxy = Proxy(address.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(re.sub(r":\d+/", f":{port}/", database_url), role="marketing_worker", pool_size=1)
    await database.verify()
    proxy.connections = 0
    yield proxy, database
    await database.close()
    server.close()


async def test_a_call_on_an_ended_connection_is_an_outage_and_the_next_call_succeeds(
    proxy: tuple[Proxy, Database],
) -> None:
    between, database = proxy
    assert (await database.call("SELECT 1 AS one"))["one"] == 1
    await between.terminate()
    with pytest.raises(Unavailable):
        await database.call("SELECT 1 AS one")
    assert (await database.call("SELECT 1 AS one"))["one"] == 1
    assert between.connections == 2


async def test_a_transaction_after_the_end_of_a_connection_takes_another_connection(
    proxy: tuple[Proxy, Database],
) -> None:
    between, database = proxy
    for _ in range(2):
        async with database.transaction() as tx:
            assert (await tx.connection.execute(text("SELECT 1"))).scalar_one() == 1
        await between.terminate()
    assert between.connections == 2


async def test_the_end_of_a_connection_inside_a_transaction_is_an_outage(proxy: tuple[Proxy, Database]) -> None:
    between, database = proxy
    with pytest.raises(Unavailable):
        await _terminate_inside_a_transaction(between, database)
    async with database.transaction() as tx:
        assert (await tx.connection.execute(text("SELECT 1"))).scalar_one() == 1


async def _terminate_inside_a_transaction(between: Proxy, database: Database) -> None:
    async with database.transaction() as tx:
        await tx.connection.execute(text("SELECT 1"))
        await between.terminate()
