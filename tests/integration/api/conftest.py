"""The whole application with real PostgreSQL and Valkey, and with the development CRM."""

from __future__ import annotations

import dataclasses
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


@pytest.fixture
async def resources(database_url: str, valkey: ValkeyServer, crm: Crm) -> AsyncIterator[Resources]:
    settings = api_settings(database_url, valkey.url())
    async with Resources.open(settings, process="api") as opened:
        audience = CrmAudience(crm.client, settings.crm_url, CRM_TOKEN, quick_timeout=1.0)
        yield dataclasses.replace(opened, audience=audience)


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
