"""The whole service on real parts, in one process: PostgreSQL, Valkey, a relay, the CRM stand-in, a worker."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from starlette.responses import Response

from marketing_service.audience import CrmAudience
from marketing_service.bootstrap import Resources
from marketing_service.devstack.contacts import ORG_ID, ContactBook
from marketing_service.devstack.crm import create_crm_app
from marketing_service.ledger import lifecycle
from marketing_service.settings import Settings, load_settings
from marketing_service.worker.process import WorkerProcess
from marketing_service.worker.shutdown import ShutdownSignals
from tests.support.ledger import campaign_row, contact, draft, launched, send_rows
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from uuid import UUID

    from starlette.requests import Request

    from marketing_service.db import Database
    from marketing_service.ports import Audience

CRM_TOKEN = "crm-token"
JWT_SECRET = "a-secret-of-at-least-thirty-two-bytes"
ISSUER = "https://portal.example.com"


def make_settings(**values: Any) -> Settings:
    """Settings as tests want them: quick to retry, quick to notice."""
    defaults = {
        "crm_url": "http://crm.example.com",
        "crm_token": CRM_TOKEN,
        "public_base_url": "http://127.0.0.1:8000",
        "token_keys": "a-token-key-of-at-least-thirty-two-bytes",
        "jwt_secret": JWT_SECRET,
        "jwt_issuer": ISSUER,
        "jwt_audience": "marketing",
        "default_from_email": "news@acme.example",
        "retry_delays": "0.2,0.2",
        "sweep_seconds": "0.2",
        "requeue_seconds": "1",
        "smtp_connections": "4",
        "smtp_timeout": "5",
        "drain_seconds": "10",
        "domain_backoff_seconds": "0.2",
    }
    return load_settings(**(defaults | values))


@dataclass
class Crm:
    """The CRM stand-in, and a switch that makes it misbehave."""

    book: ContactBook
    fault: Callable[[Request], Awaitable[Response | None]] | None = None
    requests: list[str] = field(default_factory=list)

    async def faults(self, request: Request) -> Response | None:
        self.requests.append(f"{request.method} {request.url.path}")
        return await self.fault(request) if self.fault is not None else None

    def down(self) -> None:
        async def unavailable(_: Request) -> Response:
            return Response(status_code=503)

        self.fault = unavailable

    def up(self) -> None:
        self.fault = None


@dataclass
class World:
    """What a test of the whole needs to look at and to break."""

    owner: Database
    relay: Relay
    crm: Crm
    settings: Settings
    worker: Resources
    """As the worker's role; `api` is the same, as the API's."""
    api: Resources
    org_id: str = ORG_ID

    async def launch(self, audience: Audience | None = None, **values: Any) -> UUID:
        """A campaign, launched; `values` are its columns."""
        campaign_id = await draft(self.owner, **({"org_id": self.org_id} | values))
        async with self.worker.transactions() as tx:
            assert await lifecycle.launch(tx.connection, campaign_id, audience=audience)
            tx.after_commit(partial(self.worker.job_queue.enqueue_expansion, campaign_id, 0))
        return campaign_id

    async def launch_to(self, *emails: str, **values: Any) -> UUID:
        """A campaign whose list stands already, with one contact for each address."""
        people = [
            contact(number, email=email, address=email.lower(), contact_id=f"x{number}")
            for number, email in enumerate(emails)
        ]
        return await launched(self.owner, people, **({"org_id": self.org_id} | values))

    async def sends(self, campaign_id: UUID) -> dict[str, dict[str, Any]]:
        """The campaign's rows, by email."""
        return {row["email"]: row for row in await send_rows(self.owner, campaign_id)}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[asyncio.Event]:
        """A worker runs while the block does, and drains at its end; set the event to end it sooner."""
        shutdown = ShutdownSignals()
        process = WorkerProcess(self.worker)
        task = asyncio.create_task(process.run(shutdown))
        try:
            yield shutdown.drain
        finally:
            shutdown.drain.set()
            await task

    async def until_status(self, campaign_id: UUID, *statuses: str, seconds: float = 20) -> dict[str, Any]:
        """The campaign's row, as soon as it has one of the statuses."""
        row: dict[str, Any] = {}

        async def reached() -> bool:
            row.update(await campaign_row(self.owner, campaign_id))
            return row["status"] in statuses

        await until(reached, seconds=seconds)
        return row


async def until(reached: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    """Wait until it is so; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await reached():
        assert time.monotonic() < deadline, f"not reached within {seconds} s"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def open_world(
    owner: Database, database_url: str, redis_url: str, *, contacts: int = 40, **settings: Any
) -> AsyncIterator[World]:
    """Everything open, with an empty ledger; no worker runs yet."""
    crm = Crm(ContactBook.of_size(contacts))
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay())
        chosen = make_settings(
            **({"database_url": database_url, "redis_url": redis_url, "smtp_url": relay.url} | settings)
        )
        app = create_crm_app(crm.book, CRM_TOKEN, faults=crm.faults)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app)))
        audience = CrmAudience(client, chosen.crm_url, CRM_TOKEN, page_size=10, timeout=2.0, retry_seconds=0.5)
        worker = await stack.enter_async_context(Resources.open(chosen, process="worker"))
        api = await stack.enter_async_context(Resources.open(chosen, process="api"))
        yield World(
            owner=owner,
            relay=relay,
            crm=crm,
            settings=chosen,
            worker=replace(worker, audience=audience),
            api=replace(api, audience=audience),
        )
