"""Real servers for the integration tests: one PostgreSQL and one Valkey per test process, a fresh database per test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.config import Config

from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.queue import connect
from tests.support.databases import SharedDatabase
from tests.support.project import ROOT
from tests.support.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from marketing_service.db import Database


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A PostgreSQL without fsync: no test cuts its power."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: PostgresServer) -> str:
    """The name of a migrated database; each test gets a clone of it."""
    postgres.create_database("template")
    migrate(postgres.url("template"))
    return "template"


@pytest.fixture
def empty(postgres: PostgresServer) -> str:
    """The URL of a database without a schema."""
    name = f"empty_{uuid.uuid4().hex}"
    postgres.create_database(name)
    return postgres.url(name)


@pytest.fixture(scope="session")
async def shared_database(postgres: PostgresServer, template: str) -> AsyncIterator[SharedDatabase]:
    shared = SharedDatabase(postgres, template)
    yield shared
    await shared.close()


@pytest.fixture
async def database_url(shared_database: SharedDatabase) -> str:
    """An empty, migrated database."""
    await shared_database.renew()
    return shared_database.url


@pytest.fixture
def owner(database_url: str, shared_database: SharedDatabase) -> Database:
    """The test's database as the superuser, so that row-level security hides nothing."""
    return shared_database.owner


@pytest.fixture
async def redis_url(valkey: ValkeyServer) -> str:
    """An empty Valkey."""
    client = connect(valkey.url())
    await client.flushall()
    await client.aclose(close_connection_pool=True)
    return valkey.url()


@pytest.fixture
async def world(owner: Database, database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_world(owner, database_url, redis_url) as opened:
        yield opened


def alembic_config(database_url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.attributes["database_url"] = database_url
    return config


def migrate(database_url: str, revision: str = "head") -> None:
    config = alembic_config(database_url)
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)
