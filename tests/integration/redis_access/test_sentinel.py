"""Sentinel: the API, the worker and the rate limits follow a failover."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from marketing_service.devstack.process import free_port
from marketing_service.errors import Unavailable
from marketing_service.ports import Limit
from marketing_service.queue import ArqJobQueue, connect
from tests.support.ledger import assert_adds_up
from tests.support.redis_server import RedisServer, redis_server
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from marketing_service.db import Database

CONTACTS = 120
SENTINEL = """\
sentinel monitor marketing 127.0.0.1 {port} 1
sentinel auth-pass marketing secret
sentinel down-after-milliseconds marketing 300
sentinel failover-timeout marketing 2000
requirepass watched
"""


class Group(NamedTuple):
    """A primary with a replica, the Sentinel that watches them, and one that hangs."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer
    frozen: RedisServer

    @property
    def url(self) -> str:
        """The first Sentinel is away, and the second one hangs."""
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self.frozen.port},127.0.0.1:{self.sentinel.port}"
        return f"redis+sentinel://:secret@{hosts}/marketing/0?sentinel_password=watched"


@asynccontextmanager
async def group(folder: Path) -> AsyncIterator[Group]:
    for name in ("primary", "replica", "sentinel", "frozen"):
        (folder / name).mkdir()
    locked = ("--requirepass", "secret", "--masterauth", "secret")
    async with redis_server(folder / "primary", *locked) as primary:
        of = ("--replicaof", f"127.0.0.1 {primary.port}")
        file = folder / "sentinel" / "sentinel.conf"
        file.write_text(SENTINEL.format(port=primary.port))
        async with (
            redis_server(folder / "replica", *locked, *of) as replica,
            redis_server(folder / "sentinel", "--sentinel", file=file) as sentinel,
            redis_server(folder / "frozen") as frozen,
        ):
            frozen.process.send_signal(signal.SIGSTOP)
            found = Group(primary, replica, sentinel, frozen)
            await until(lambda: _knows_the_replica(found))
            yield found


async def _knows_the_replica(servers: Group) -> bool:
    """Whether the Sentinel could promote the replica: it knows it, and the replica has the data."""
    sentinel = connect(f"redis://:watched@127.0.0.1:{servers.sentinel.port}")
    try:
        replicas = await sentinel.sentinel_slaves("marketing")  # type: ignore[no-untyped-call] # redis has no types here
        return [replica["master-link-status"] for replica in replicas] == ["ok"]
    finally:
        await sentinel.aclose(close_connection_pool=True)


async def test_jobs_limits_and_readiness_follow_a_failover(owner: Database, database_url: str, tmp_path: Path) -> None:
    limits = {"rate_relay": "40/second", "api_rate_token": "1000/hour"}
    async with (
        group(tmp_path) as servers,
        open_world(owner, database_url, servers.url, contacts=CONTACTS, **limits) as world,
    ):
        await world.api.verify()
        with capture_logs() as lines:
            async with world.working():
                campaign_id = await world.launch()

                async def sending() -> bool:
                    return len(world.relay.accepted) >= 20

                await until(sending)
                servers.primary.process.send_signal(signal.SIGKILL)

                async def missing() -> bool:
                    return "redis" in await world.api.missing()

                await until(missing)
                row = await world.until_status(campaign_id, "SENT")
                assert "redis" not in await world.api.missing()
                assert len(world.relay.accepted) == row["delivered"]
                await assert_adds_up(owner, campaign_id)
                # A new job comes through the queue: the next sweep is far away for it.
                await world.until_status(await world.launch(), "SENT")

            async def shared() -> bool:
                await world.api.limiter.take(Limit.TOKEN, "somebody")
                return not world.api.limiter.local

            await until(shared)
        assert "arq_ended" in {line["event"] for line in lines}


async def test_what_the_sentinels_say_is_named(tmp_path: Path) -> None:
    async with group(tmp_path) as servers:
        for wrong, words in [
            (servers.url.replace("/marketing/", "/another/"), "a Sentinel does not know the service 'another'"),
            (servers.url.replace("=watched", "=wrong"), "refuses the log-in"),
            (servers.url.replace(":secret@", ":wrong@"), "refuses the log-in"),
        ]:
            assert words in await said(wrong)
        for server in (servers.replica, servers.primary):  # none is left to be promoted
            server.process.send_signal(signal.SIGKILL)

        async def down() -> bool:
            return "a Sentinel says that the primary of 'marketing' is down" in await said(servers.url)

        await until(down)
        assert "has no primary that a Sentinel names" in await said(servers.url)


async def said(url: str) -> str:
    """Why the queue at this URL cannot be used."""
    redis = connect(url)
    with pytest.raises(Unavailable) as outage:
        await ArqJobQueue(redis).ping()
    await redis.aclose(close_connection_pool=True)
    return f"{outage.value.detail} {outage.value.cause}"
