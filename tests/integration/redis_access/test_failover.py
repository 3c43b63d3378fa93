"""A failover behind one address: the old primary becomes a replica, and open connections still lead to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from marketing_service.queue import connect
from tests.support.redis_server import RedisServer, redis_server
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from marketing_service.db import Database


@dataclass
class Address:
    """An address whose new connections lead to `target`; those that are open stay where they are."""

    target: int
    port: int = 0
    connections: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, to_server))
            both.create_task(_copy(from_server, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def address(target: int) -> AsyncIterator[Address]:
    found = Address(target)
    async with await asyncio.start_server(found.accept, "127.0.0.1", 0) as listening:
        found.port = listening.sockets[0].getsockname()[1]
        yield found
        await asyncio.gather(*[task for task in found.connections if task is not None])  # their clients are closed


async def replicates(replica: RedisServer, primary: RedisServer | None) -> None:
    """Make it a replica of the primary, or a primary itself."""
    client: Any = connect(replica.url)
    try:
        await client.execute_command("REPLICAOF", *(("NO", "ONE") if primary is None else ("127.0.0.1", primary.port)))
        if primary is not None:

            async def is_linked() -> bool:
                return bool((await client.info("replication"))["master_link_status"] == "up")

            await until(is_linked)
    finally:
        await client.aclose(close_connection_pool=True)


async def test_jobs_go_on_at_the_new_primary(owner: Database, database_url: str, tmp_path: Path) -> None:
    async with (
        redis_server(tmp_path) as old,
        redis_server(tmp_path) as new,
        address(old.port) as shared,
        open_world(owner, database_url, f"redis://127.0.0.1:{shared.port}/0", rate_relay="1000/second") as world,
        world.working(),
    ):
        await world.until_status(await world.launch(), "SENT")
        await replicates(new, old)
        await replicates(new, None)
        shared.target = new.port
        await replicates(old, new)
        await world.until_status(await world.launch(), "SENT")

        async def ready() -> bool:
            return "redis" not in await world.api.missing()

        await until(ready)
