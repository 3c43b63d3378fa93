"""The whole application with real PostgreSQL and Valkey, and with the development CRM."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

import httpx
import pytest
import structlog

from marketing_service.api.app import create_app
from marketing_service.audience import CrmAudience
from marketing_service.bootstrap import Resources
from marketing_service.devstack.contacts import ContactBook
from marketing_service.devstack.crm import create_crm_app
from tests.integration.api.support import BASE_URL, CRM_TOKEN, Crm, CurrentContacts, api_settings, client_of, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from marketing_service.devstack.valkey import ValkeyServer
    from tests.support.databases import SharedDatabase


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """Prevents structlog's default, which prints every local variable of a traceback and takes seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ]
    )


@pytest.fixture(scope="session")
def crm_and_app() -> tuple[Crm, FastAPI]:
    """Made once: FastAPI needs longer for it than most of these tests."""
    crm = Crm()
    contacts = cast("ContactBook", CurrentContacts(crm))
    return crm, create_crm_app(contacts, CRM_TOKEN, faults=crm.fault)


@pytest.fixture
async def crm(crm_and_app: tuple[Crm, FastAPI]) -> AsyncIterator[Crm]:
    """The development CRM, with a switch that makes it fail."""
    crm, app = crm_and_app
    crm.contacts, crm.status = ContactBook.of_size(30), None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as crm.client:
        yield crm


class OpenResources:
    """The resources on the shared database. They stay open, because the first statements on a connection are slow."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._database_url: str | None = None
        self._resources: Resources

    async def on(self, database_url: str, redis_url: str) -> Resources:
        if database_url != self._database_url:
            await self._stack.aclose()
            settings = api_settings(database_url, redis_url)
            self._resources = await self._stack.enter_async_context(Resources.open(settings, process="api"))
            self._database_url = database_url
        return self._resources

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture(scope="session")
async def open_resources(shared_database: SharedDatabase) -> AsyncIterator[OpenResources]:
    opened = OpenResources()
    yield opened
    await opened.close()


@pytest.fixture
async def resources(open_resources: OpenResources, database_url: str, valkey: ValkeyServer, crm: Crm) -> Resources:
    opened = await open_resources.on(database_url, valkey.url())
    audience = CrmAudience(crm.client, opened.settings.crm_url, CRM_TOKEN, quick_timeout=1.0)
    return dataclasses.replace(opened, audience=audience)


@pytest.fixture
def app(resources: Resources) -> ASGIApp:
    """The API. A busy machine may need longer for a response than the service allows itself."""
    return create_app(resources, response_seconds=60)


@pytest.fixture
async def admin(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A user of acme with a writing role."""
    async with client_of(app, token()) as client:
        yield client


@pytest.fixture
async def viewer(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A user of acme who may only read."""
    async with client_of(app, token(roles=["VIEWER"])) as client:
        yield client


@pytest.fixture
async def stranger(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """A user of another organisation, with a writing role."""
    async with client_of(app, token(org_id="globex")) as client:
        yield client


@pytest.fixture
async def anonymous(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, None) as client:
        yield client
