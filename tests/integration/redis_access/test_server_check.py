"""A server that cannot be used is refused when a process starts; one that takes no writes is named, in the log and in
/readyz."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from marketing_service.bootstrap import Resources
from marketing_service.devstack.process import free_port
from marketing_service.errors import SettingsError
from marketing_service.ports import Limit, Rate
from marketing_service.queue import connect
from marketing_service.rates import RequestRates, limiter_redis
from tests.support.redis_server import RedisServer, redis_server
from tests.support.workers import worker_environment
from tests.support.world import make_settings, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from marketing_service.db import Database

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"
COMMANDS = {
    "api": ("serve", "--port", "0"),
    "worker": ("worker",),
    "supervisor": ("worker", "--processes", "2"),
    "listener": ("bounces", "lmtp", "--port", "0"),
}
EVICTS = {"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@asynccontextmanager
async def configured(server: RedisServer, values: Mapping[str, str]) -> AsyncIterator[None]:
    """The server with other values while the block runs."""
    administrator: Any = connect(server.url)
    before = {name: (await administrator.config_get(name))[name] for name in values}
    try:
        for name, value in values.items():
            await administrator.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            await administrator.config_set(name, value)
        await administrator.aclose(close_connection_pool=True)


@asynccontextmanager
async def user(server: RedisServer, *rights: str) -> AsyncIterator[str]:
    """The URL of the server with a user that has these rights."""
    administrator: Any = connect(server.url)
    await administrator.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rights)
    try:
        yield urlsplit(server.url)._replace(netloc=f"limited:secret@127.0.0.1:{server.port}").geturl()
    finally:
        await administrator.execute_command("ACL", "DELUSER", "limited")
        await administrator.aclose(close_connection_pool=True)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Resources]:
    settings = make_settings(database_url=NOWHERE, redis_url=url, smtp_url="", crm_url="http://127.0.0.1:9")
    async with Resources.open(settings, process="api") as resources:
        yield resources


async def started(url: str) -> list[Mapping[str, Any]]:
    """The log lines about Redis of a process that starts."""
    with capture_logs() as lines:
        async with opened(url) as resources:
            await resources.verify()
    return [line for line in lines if line["event"].startswith("redis_")]


async def run(command: str, url: str) -> tuple[int, list[str]]:
    """The exit code of a process, and what it prints that is no log line."""
    environment = worker_environment(
        database_url=NOWHERE, redis_url=url, smtp_url="smtp://127.0.0.1:9", bounce_domain="bounce.example.com"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketing_service", *COMMANDS[command], env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:  # it has started: its supervisor ends the workers
            process.terminate()
            await process.communicate()
    return process.returncode or 0, [line for line in output.decode().splitlines() if not line.startswith("{")]


@pytest.mark.parametrize("command", ["supervisor", "listener"])
async def test_no_process_starts_with_a_server_that_deletes_any_key(server: RedisServer, command: str) -> None:
    async with configured(server, EVICTS):
        code, lines = await run(command, server.url)
    assert code == 2
    (line,) = lines
    assert "MARKETING_REDIS_URL" in line
    assert "allkeys-lru" in line
    assert "set noeviction" in line


async def test_a_cluster_is_refused_when_a_process_starts_and_named_later(tmp_path_factory: Any) -> None:
    bus = str(free_port())
    folder = tmp_path_factory.mktemp("cluster")
    async with redis_server(folder, "--cluster-enabled", "yes", "--cluster-port", bus) as cluster:
        for command in ("api", "worker"):
            code, lines = await run(command, cluster.url)
            assert (code, len(lines)) == (2, 1)
            assert "MARKETING_REDIS_URL: Redis is a cluster" in lines[0]
        # A process that started while Redis was down finds it later. This node has all slots: single writes succeed.
        administrator: Any = connect(cluster.url)
        await administrator.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def takes_writes() -> bool:
            return b"cluster_state:ok" in await administrator.execute_command("CLUSTER", "INFO")

        await until(takes_writes)
        await administrator.aclose(close_connection_pool=True)
        async with opened(cluster.url) as resources:
            assert "is a cluster" in (await resources.missing())["redis"]


async def test_a_sentinel_in_place_of_a_server_is_refused(tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("sentinel")
    (folder / "sentinel.conf").touch()
    async with redis_server(folder, "--sentinel", file=folder / "sentinel.conf") as sentinel:
        with pytest.raises(SettingsError, match=r"is a Sentinel: write redis\+sentinel://"):
            await started(sentinel.url)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"maxmemory": "1"}, "has no memory left"),
        ({"min-replicas-to-write": "1"}, "has too few replicas"),
    ],
)
async def test_a_server_that_takes_no_writes_is_named(
    server: RedisServer, values: Mapping[str, str], says: str
) -> None:
    async with opened(server.url) as resources:
        async with configured(server, values):
            (line,) = await started(server.url)
            assert (line["event"], says in line["reason"]) == ("redis_not_verified", True)
            assert says in (await resources.missing())["redis"]
        assert "redis" not in await resources.missing()


async def test_a_replica_is_named(tmp_path_factory: Any, server: RedisServer) -> None:
    folder = tmp_path_factory.mktemp("replica")
    async with redis_server(folder, "--replicaof", f"127.0.0.1 {server.port}") as replica:
        (line,) = await started(replica.url)
        assert "is read-only: a replica" in line["reason"]
        async with opened(replica.url) as resources:
            assert "is read-only: a replica" in (await resources.missing())["redis"]


@pytest.mark.parametrize(
    "rights",
    [
        ("~*", "+@all", "-@scripting"),
        ("~*", "+@all", "-@sortedset"),
        ("~*", "+@read", "+@connection", "+@transaction"),
        ("~marketing:*", "+@all"),
        ("~arq:*", "+@all"),
    ],
)
async def test_missing_rights_are_named(server: RedisServer, rights: tuple[str, ...]) -> None:
    async with user(server, *rights) as url:
        lines = [line for line in await started(url) if line["event"] == "redis_not_verified"]
        assert "the rights that it needs" in lines[0]["reason"]
        async with opened(url) as resources:
            assert "the rights that it needs" in (await resources.missing())["redis"]


async def test_a_refused_log_in_is_named(server: RedisServer) -> None:
    url = urlsplit(server.url)._replace(netloc=f"nobody:wrong@127.0.0.1:{server.port}").geturl()
    (line,) = await started(url)
    assert "refuses the log-in" in line["reason"]
    async with opened(url) as resources:
        assert "refuses the log-in" in (await resources.missing())["redis"]


async def test_a_user_that_may_not_ask_for_the_eviction_is_told_once(server: RedisServer) -> None:
    async with configured(server, EVICTS), user(server, "~arq:*", "~marketing:*", "+@all", "-@dangerous") as url:
        with capture_logs() as lines:
            async with opened(url) as resources:
                await resources.verify()
                for _ in range(3):
                    assert "redis" not in await resources.missing()
    assert [line["event"] for line in lines if line["event"].startswith("redis_")] == ["redis_eviction_unknown"]


@pytest.mark.parametrize(
    ("values", "events"),
    [
        (EVICTS | {"maxmemory": "0"}, []),  # no limit: nothing is deleted
        ({"maxmemory": "1gb", "maxmemory-policy": "noeviction"}, []),
        ({"maxmemory": "1gb", "maxmemory-policy": "volatile-lru"}, ["redis_evicts"]),
    ],
)
async def test_a_server_that_keeps_the_queue_is_accepted(
    server: RedisServer, values: Mapping[str, str], events: list[str]
) -> None:
    async with configured(server, values):
        assert [line["event"] for line in await started(server.url)] == events


async def test_a_worker_names_a_server_that_begins_to_refuse_its_writes(
    owner: Database, database_url: str, server: RedisServer
) -> None:
    """Its jobs are in the queue already, and arq leaves out a job that it cannot mark as begun, without a log line."""
    async with open_world(owner, database_url, server.url) as world:
        with capture_logs() as lines:
            campaign_id = await world.launch()
            async with configured(server, {"maxmemory": "1"}), world.working():

                async def named() -> bool:
                    found = [line["reason"] for line in lines if line.get("task") == "queue"]
                    return any("has no memory left" in reason for reason in found)

                await until(named)
            async with world.working():
                await world.until_status(campaign_id, "SENT")


async def test_requests_are_counted_by_the_process_while_redis_refuses_the_counts(server: RedisServer) -> None:
    """Not once a second by Redis again, because it answers: then each change would forget the counts."""
    redis = limiter_redis(server.url)
    limiter = RequestRates(redis, {Limit.TOKEN: [Rate(2, 3600)]}, timeout=5)
    administrator: Any = connect(server.url)

    async def refusals() -> int:
        found = (await administrator.info("errorstats")).get("errorstat_OOM", {"count": 0})
        return int(found["count"])

    with capture_logs() as lines:
        async with configured(server, {"maxmemory": "1"}):
            before = await refusals()
            verdicts = []

            async def probed() -> bool:
                verdicts.append((await limiter.take(Limit.TOKEN, "somebody")).allowed)
                return await refusals() >= before + 3  # the count, and two probes

            await until(probed)
            assert limiter.local
        assert verdicts.count(True) == 2
        assert [line["event"] for line in lines] == ["request_limits_counted_locally"]
        assert "has no memory left" in lines[0]["reason"]
    await limiter.aclose()
    for client in (redis, administrator):
        await client.aclose(close_connection_pool=True)
