from __future__ import annotations

import re
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

import httpx
import pytest

from marketing_service.audience import CrmAudience, ViewAudience
from marketing_service.devstack.contacts import STATUSES, ContactBook, OrgContacts
from marketing_service.devstack.crm import create_crm_app
from tests.integration.audience.crm_database import CrmDatabase
from tests.support.crm_server import TOKEN, CrmServer
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from marketing_service.devstack.postgres import PostgresServer
    from marketing_service.ports import AudienceSource, Contact, ContactStatus

_SQL = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)


class SourceFactory(Protocol):
    """Creates a source that contains these contacts, by organisation."""

    async def __call__(
        self, contacts: dict[str, list[Contact]], statuses: Sequence[ContactStatus] = ()
    ) -> AudienceSource: ...


@pytest.fixture
async def crm() -> AsyncIterator[CrmServer]:
    async with CrmServer() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    # Loading certificates would take longer than the test.
    async with httpx.AsyncClient(verify=False) as client:
        yield client


@pytest.fixture
def crm_source(crm: CrmServer, client: httpx.AsyncClient) -> SourceFactory:
    async def make(contacts: dict[str, list[Contact]], statuses: Sequence[ContactStatus] = ()) -> AudienceSource:
        crm.contacts = {org_id: list(rows) for org_id, rows in contacts.items()}
        crm.statuses = statuses
        return CrmAudience(client, crm.url, TOKEN, page_size=100)

    return make


@pytest.fixture
async def stand_in_source() -> AsyncIterator[SourceFactory]:
    async with AsyncExitStack() as stack:

        async def make(contacts: dict[str, list[Contact]], statuses: Sequence[ContactStatus] = ()) -> AudienceSource:
            assert set(statuses) <= set(STATUSES), "the development CRM has fixed statuses"
            book = ContactBook({org_id: OrgContacts(rows) for org_id, rows in contacts.items()})
            transport = httpx.ASGITransport(create_crm_app(book, TOKEN))
            client = httpx.AsyncClient(transport=transport)
            stack.push_async_callback(client.aclose)
            return CrmAudience(client, "http://crm", TOKEN, page_size=100)

        yield make


@pytest.fixture(scope="session")
async def views(postgres: PostgresServer) -> str:
    """A database that contains only the example of the documentation."""
    page = (ROOT / "docs" / "audience-view.md").read_text(encoding="utf-8")
    postgres.create_database("views")
    await CrmDatabase(postgres.url("views")).run(*_SQL.findall(page))
    return "views"


@pytest.fixture
def crm_database(postgres: PostgresServer, views: str) -> CrmDatabase:
    """A CRM's database for one test, with the views of the documentation and no contacts."""
    name = f"crm_{uuid.uuid4().hex}"
    postgres.create_database(name, template=views)
    return CrmDatabase(postgres.url(name))


@pytest.fixture
async def view_source(crm_database: CrmDatabase) -> AsyncIterator[SourceFactory]:
    async with AsyncExitStack() as stack:

        async def make(contacts: dict[str, list[Contact]], statuses: Sequence[ContactStatus] = ()) -> AudienceSource:
            await crm_database.fill(contacts, statuses)
            pool = await stack.enter_async_context(crm_database.pool())
            return ViewAudience(pool, page_size=100)

        yield make


@pytest.fixture(params=["crm_source", "stand_in_source", "view_source"])
def make_source(request: pytest.FixtureRequest) -> SourceFactory:
    """A factory for each adapter: all implementations of AudienceSource must behave the same."""
    factory: SourceFactory = request.getfixturevalue(request.param)
    return factory
