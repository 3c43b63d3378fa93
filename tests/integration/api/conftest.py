"""The API over real PostgreSQL and Valkey, and the CRM stand-in; requests go through the whole application."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import httpx
import pytest
import structlog

from marketing_service.api.app import create_app
from marketing_service.audience import CrmAudience
from marketing_service.bootstrap import Resources
from marketing_service.devstack.contacts import ContactBook
from marketing_service.devstack.crm import create_crm_app
from tests.integration.api.support import BASE_URL, CRM_TOKEN, Crm, api_settings, client_of, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from marketing_service.devstack.valkey import ValkeyServer


@pytest.fixture(scope="session", autouse=True)
def _plain_tracebacks() -> None:
    """structlog's own default draws every local variable of a traceback, which takes seconds."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(),
        ]
    )


@pytest.fixture
async def crm() -> AsyncIterator[Crm]:
    """The CRM's contacts, and a switch that breaks it."""
    crm = Crm(ContactBook.of_size(30))
    app = create_crm_app(crm.contacts, CRM_TOKEN, faults=crm.fault)
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
    return create_app(resources)


@pytest.fixture
async def admin(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody of acme who may write."""
    async with client_of(app, token()) as client:
        yield client


@pytest.fixture
async def viewer(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody of acme who may only read."""
    async with client_of(app, token(roles=["VIEWER"])) as client:
        yield client


@pytest.fixture
async def stranger(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody of another organisation, who may write there."""
    async with client_of(app, token(org_id="globex")) as client:
        yield client


@pytest.fixture
async def anonymous(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, None) as client:
        yield client
