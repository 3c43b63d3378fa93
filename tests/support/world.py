"""The whole service in one process, on real servers: PostgreSQL, Valkey, a relay, the development CRM, a worker."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from starlette.responses import JSONResponse, Response

from marketing_service.audience import CrmAudience
from marketing_service.bootstrap import Resources
from marketing_service.delivery import RelayAddress, SmtpMailer
from marketing_service.delivery.pool import PoolTimings
from marketing_service.devstack.contacts import ORG_ID, ContactBook, OrgContacts
from marketing_service.devstack.crm import create_crm_app
from marketing_service.ledger import lifecycle
from marketing_service.queue import Queue, connect
from marketing_service.settings import Settings, load_settings
from marketing_service.worker.dependencies import WorkerDependencies
from marketing_service.worker.process import WorkerProcess
from marketing_service.worker.shutdown import ShutdownSignals
from tests.support.ledger import campaign_row, contact, draft, launched, send_rows
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from uuid import UUID

    from arq.connections import ArqRedis
    from starlette.requests import Request

    from marketing_service.db import Database
    from marketing_service.ports import Audience, Contact

CRM_TOKEN = "crm-token"
JWT_SECRET = "a-secret-of-at-least-thirty-two-bytes"
ISSUER = "https://portal.example.com"


def make_settings(**values: Any) -> Settings:
    """Settings for tests: short intervals, so that retries and sweeps come soon, and long time limits."""
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
        "smtp_timeout": "30",
        "drain_seconds": "60",
        "domain_backoff_seconds": "0.2",
        "relay_probe_seconds": "0.6",
        # Off: most tests make more requests than a person does. The tests of the limits set them.
        "api_rate_token": "",
        "api_rate_public": "",
        "api_rate_test": "",
    }
    return load_settings(**(defaults | values))


@dataclass
class Crm:
    """The development CRM. `fault` makes it misbehave."""

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

    def without_an_end(self) -> None:
        """Its list of contacts goes on for ever: each page is good, and has a cursor that was never there before."""
        pages = 0

        async def another_page(request: Request) -> Response | None:
            nonlocal pages
            if not request.url.path.endswith("/contacts"):
                return None
            pages += 1
            contact = dict.fromkeys(("email", "firstName", "lastName", "companyName", "status"))
            item = {"id": f"c-{pages}", **contact, "marketingOptOut": False}
            return JSONResponse({"items": [item], "nextCursor": f"page-{pages}"})

        self.fault = another_page


@dataclass
class World:
    """Everything that a test of the whole service reads and breaks."""

    owner: Database
    relay: Relay
    crm: Crm
    settings: Settings
    worker: Resources
    """The resources with the database role of the worker; `api` has the role of the API."""
    api: Resources
    redis: ArqRedis
    """A client of the test's own."""
    org_id: str = ORG_ID

    async def launch(self, audience: Audience | None = None, **values: Any) -> UUID:
        """A campaign that has been launched; `values` are its columns."""
        campaign_id = await draft(self.owner, **({"org_id": self.org_id} | values))
        async with self.worker.transactions() as tx:
            assert await lifecycle.launch(tx.connection, campaign_id, audience=audience)
            tx.after_commit(partial(self.worker.job_queue.enqueue_expansion, campaign_id, 0))
        return campaign_id

    async def launch_to(self, *emails: str, **values: Any) -> UUID:
        """A campaign that has been launched and expanded, with one contact for each address."""
        people = [
            contact(number, email=email, address=email.lower(), contact_id=f"x{number}")
            for number, email in enumerate(emails)
        ]
        return await launched(self.owner, people, **({"org_id": self.org_id} | values))

    async def sweep(self) -> None:
        """Sweep once, beside the sweeps of the workers that run. Raises Unavailable."""
        await WorkerDependencies.of(self.worker).sweep.sweep()

    async def until_idle(self) -> None:
        """Wait until no job waits in the queue or runs: then only a sweep, a request or a due time starts work."""

        async def idle() -> bool:
            now = time.time() * 1000
            return not any([await self.redis.zcount(queue, "-inf", now) for queue in Queue])

        await until(idle)

    async def sweep_until_idle(self, times: int = 5) -> None:
        """Sweep several times, and each time let the workers finish the jobs that the sweep has enqueued.

        Proves that nothing further happens: what has not happened now, no later sweep starts.
        """
        for _ in range(times):
            await self.sweep()
            await self.until_idle()

    async def sends(self, campaign_id: UUID) -> dict[str, dict[str, Any]]:
        """The campaign's rows, by email."""
        return {row["email"]: row for row in await send_rows(self.owner, campaign_id)}

    @asynccontextmanager
    async def working(self) -> AsyncIterator[asyncio.Event]:
        """Run a worker while the block runs, and drain it at the end. Set the event to drain it sooner."""
        shutdown = ShutdownSignals()
        process = WorkerProcess(self.worker)
        task = asyncio.create_task(process.run(shutdown))
        try:
            yield shutdown.drain
        finally:
            shutdown.drain.set()
            await task

    async def until_status(self, campaign_id: UUID, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the campaign has one of the statuses, and return its row."""
        row: dict[str, Any] = {}

        async def reached() -> bool:
            row.update(await campaign_row(self.owner, campaign_id))
            return row["status"] in statuses

        await until(reached, seconds=seconds)
        return row


async def until(reached: Callable[[], Awaitable[bool]], *, seconds: float = 60) -> None:
    """Wait until `reached` returns true. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not await reached():
        assert time.monotonic() < deadline, f"not reached within {seconds} s"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def open_mailer(url: str) -> AsyncIterator[SmtpMailer]:
    """A pool of connections to this relay that has opened none, and so knows nothing about it."""
    mailer = SmtpMailer(
        RelayAddress.parse(url),
        connections=2,
        messages_per_connection=100,
        idle_seconds=30,
        timeout=30,
        data_timeout=30,
        hello_name="tests.example",
        timings=PoolTimings(size_limit_age=0),
    )
    try:
        yield mailer
    finally:
        await mailer.close()


@asynccontextmanager
async def open_world(
    owner: Database, database_url: str, redis_url: str, *, contacts: int | Sequence[Contact] = 40, **settings: Any
) -> AsyncIterator[World]:
    """Open everything, with an empty ledger. No worker runs yet. `contacts`: how many generated ones, or which."""
    crm = Crm(
        ContactBook.of_size(contacts) if isinstance(contacts, int) else ContactBook({ORG_ID: OrgContacts(contacts)})
    )
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(Relay())
        resolved = make_settings(
            **({"database_url": database_url, "redis_url": redis_url, "smtp_url": relay.url} | settings)
        )
        app = create_crm_app(crm.book, CRM_TOKEN, faults=crm.faults)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=httpx.ASGITransport(app)))
        audience = CrmAudience(client, resolved.crm_url, CRM_TOKEN, page_size=10, timeout=10.0, retry_seconds=0.5)
        worker = await stack.enter_async_context(Resources.open(resolved, process="worker"))
        api = await stack.enter_async_context(Resources.open(resolved, process="api"))
        redis = connect(redis_url)
        stack.push_async_callback(redis.aclose, close_connection_pool=True)
        yield World(
            owner=owner,
            relay=relay,
            crm=crm,
            settings=resolved,
            worker=replace(worker, audience=audience),
            api=replace(api, audience=audience),
            redis=redis,
        )
