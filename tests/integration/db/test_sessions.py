"""Sessions: the role and the time-outs hold, through PgBouncer too, and a server that cannot be used is refused."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import tempfile
import uuid
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from marketing_service.db import Database, WrongSession
from marketing_service.errors import Unavailable
from tests.support.certificate import certificate
from tests.support.pgbouncer import missing, pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from marketing_service.devstack.postgres import PostgresServer

needs_pgbouncer = pytest.mark.skipif(missing() is not None, reason=f"needs a PgBouncer: {missing()}")

_SESSION = """
    SELECT current_user AS "user", current_setting('statement_timeout') AS statement,
           current_setting('idle_in_transaction_session_timeout') AS idle,
           current_setting('synchronous_commit') AS commit, current_setting('TimeZone') AS zone
"""
_EXPECTED = ("marketing_api", "4s", "10s", "on", "UTC")


@asynccontextmanager
async def opened(url: str, *, pool_size: int = 2) -> AsyncIterator[Database]:
    database = Database(url, role="marketing_api", pool_size=pool_size, statement_timeout=4.0)
    try:
        yield database
    finally:
        await database.close()


async def sessions_of(database: Database) -> list[tuple[object, ...]]:
    """What a session of each of the two pools has set."""
    async with database.transaction() as tx:
        row = (await tx.connection.execute(text(_SESSION))).one()
    return [tuple(row), tuple(await database.call(_SESSION))]


async def test_both_pools_have_the_role_and_the_time_outs(database_url: str) -> None:
    async with opened(database_url) as database:
        assert await sessions_of(database) == [_EXPECTED, _EXPECTED]


@pytest.mark.parametrize(
    ("given", "used"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_a_commit_waits_for_the_disk_whatever_the_server_says(database_url: str, given: str, used: str) -> None:
    async with opened(f"{database_url}?options=-csynchronous_commit%3D{given}") as database:
        assert [session[3] for session in await sessions_of(database)] == [used, used]


@needs_pgbouncer
async def test_pgbouncer_in_session_mode_works_with_its_default_settings(database_url: str) -> None:
    async with pgbouncer(database_url, "") as url, opened(url, pool_size=5) as database:
        assert await sessions_of(database) == [_EXPECTED, _EXPECTED]
        # The next client may get the same session of the server: nothing of the last one is left in it.
        async with opened(url) as other:
            assert await sessions_of(other) == [_EXPECTED, _EXPECTED]


@needs_pgbouncer
async def test_tls_is_used_as_the_url_says(database_url: str) -> None:
    """By both pools. PgBouncer is the side with the certificate."""
    tls = "client_tls_sslmode = require\nclient_tls_cert_file = {0}\nclient_tls_key_file = {1}"
    with readable_certificate() as (path, key):
        async with pgbouncer(database_url, tls.format(path, key)) as url:
            for good in ("?sslmode=require", f"?sslmode=verify-full&sslrootcert={path}"):
                async with opened(url + good) as database:
                    assert await sessions_of(database) == [_EXPECTED, _EXPECTED]
            for bad in ("?sslmode=disable", "?sslmode=verify-full&sslrootcert=system"):
                async with opened(url + bad) as database:
                    with pytest.raises(Unavailable):
                        await database.call("SELECT 1 AS one")
                    with pytest.raises(Unavailable):
                        await sessions_of(database)
            async with opened(url + "?sslmode=verify-full&sslrootcert=system") as database:
                with pytest.raises(Unavailable, match="TLS") as refused:
                    await database.call("SELECT 1 AS one")
                assert "self-signed certificate" in str(refused.value.cause)


@contextmanager
def readable_certificate() -> Iterator[tuple[Path, Path]]:
    """The certificate and its key, which PgBouncer's user can read."""
    with tempfile.TemporaryDirectory(prefix="certificate-") as folder:
        Path(folder).chmod(0o755)
        made = certificate()
        files = [Path(shutil.copy(file, folder)) for file in (made.path, made.key)]
        for file in files:
            file.chmod(0o644)
        yield files[0], files[1]


@needs_pgbouncer
@pytest.mark.parametrize(
    "settings",
    [
        "pool_mode = transaction",
        "pool_mode = transaction\nserver_round_robin = 1",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = transaction\ndefault_pool_size = 2\nmin_pool_size = 2\nserver_round_robin = 1",
        "pool_mode = statement",
    ],
)
async def test_a_pooler_that_shares_sessions_is_refused(database_url: str, settings: str) -> None:
    async with pgbouncer(database_url, settings) as url, opened(url) as database:
        for _ in range(2):
            with pytest.raises(Unavailable, match="pool_mode = session"):
                await database.call("SELECT 1 AS one")
            with pytest.raises(Unavailable, match="pool_mode = session"):
                async with database.transaction():
                    pass
        with pytest.raises(WrongSession, match="pool_mode = session"):
            await database.verify()


async def test_the_role_holds_although_the_log_in_sets_another_one(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    name = urlsplit(database_url).path[1:]
    await owner.execute(
        f"ALTER DATABASE {name} SET role = marketing_worker; ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
    )
    await owner.close()
    async with opened(database_url) as database:
        assert await sessions_of(database) == [_EXPECTED, _EXPECTED]


async def test_a_user_without_the_role_is_refused_in_words(postgres: PostgresServer, database_url: str) -> None:
    name = f"stranger_{uuid.uuid4().hex[:8]}"
    owner = await asyncpg.connect(database_url)
    await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    await owner.close()
    parts = urlsplit(database_url)
    url = parts._replace(netloc=f"{name}:secret@{parts.hostname}:{parts.port}").geturl()
    async with opened(url) as database:
        with pytest.raises(Unavailable, match=r"cannot use the role .*member of the role"):
            await database.call("SELECT 1 AS one")
        await database.verify()  # the process starts: a migration may be running


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace(":", ":wrong", 2).replace("postgresql:wrong", "postgresql:"), "refuses the log-in"),
        (lambda url: url + "_missing", "does not have the database"),
        (lambda url: url + "?sslmode=require", "does not answer|TLS"),
        (lambda url: re.sub(r":\d+/", ":9/", url), "does not answer"),
    ],
    ids=["password", "database", "TLS", "port"],
)
async def test_the_true_cause_is_named(database_url: str, change: Callable[[str], str], says: str) -> None:
    async with opened(change(database_url)) as database:
        for _ in range(2):
            with pytest.raises(Unavailable, match=says) as call:
                await database.call("SELECT 1 AS one")
            with pytest.raises(Unavailable, match=says) as transaction:
                async with database.transaction():
                    pass
            assert call.value.cause == transaction.value.cause
            assert ":" in call.value.cause


@asynccontextmanager
async def host_that_does_not_answer() -> AsyncIterator[int]:
    """A port whose connections are opened by the kernel, and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_of_several_hosts_one_that_does_not_answer_costs_its_time_out_once(database_url: str) -> None:
    parts = urlsplit(database_url)
    async with host_that_does_not_answer() as port:
        hosts = f"127.0.0.1:{port},127.0.0.1:9,127.0.0.1:{parts.port}"
        url = f"postgresql://{parts.username}:{parts.password}@{hosts}{parts.path}?connect_timeout=1"
        async with opened(url) as database:
            loop = asyncio.get_running_loop()
            started = loop.time()
            assert await sessions_of(database) == [_EXPECTED, _EXPECTED]
            first = loop.time() - started
            assert first >= 1, "the first host got its time"
            async with database.transaction(), database.transaction():
                pass


async def test_a_read_only_server_is_passed_over_if_the_url_asks_for_read_write(database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute(f"ALTER DATABASE {urlsplit(database_url).path[1:]} SET default_transaction_read_only = on")
    await owner.close()
    async with opened(f"{database_url}?target_session_attrs=read-write") as database:
        with pytest.raises(Unavailable, match="has no host of the kind that target_session_attrs asks for"):
            await database.call("SELECT 1 AS one")
    async with opened(f"{database_url}?target_session_attrs=any") as database:
        assert (await database.call("SELECT 1 AS one"))["one"] == 1


async def test_a_pool_whose_connections_are_all_in_use_is_named(database_url: str) -> None:
    database = Database(database_url, role="marketing_api", pool_size=1, connect_timeout=0.5)
    async with database.transaction():
        with pytest.raises(Unavailable, match="MARKETING_DATABASE_POOL"):
            async with database.transaction():
                pass
    await database.call("SELECT 1 AS one")  # the connection is open, so the next call has it
    long = asyncio.create_task(database.call("SELECT pg_sleep(60)"))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="MARKETING_DATABASE_POOL"):
        await database.call("SELECT 1 AS one")
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)
    await database.close()
