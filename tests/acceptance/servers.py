"""The service as an operator runs it: API and worker as processes, and servers that a test stops and freezes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import TYPE_CHECKING, Any, Literal

import httpx

from marketing_service.auth import mint_token
from marketing_service.devstack.contacts import ORG_ID, ContactBook
from marketing_service.devstack.crm import create_crm_app
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.devstack.web import serving
from tests.acceptance.portal import BROWSER
from tests.support.fixtures import migrate
from tests.support.orphans import descendants
from tests.support.relay import Relay, Step, answer
from tests.support.workers import WorkerProcess, worker_environment, worker_process
from tests.support.world import CRM_TOKEN, ISSUER, JWT_SECRET, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

Dependency = Literal["postgresql", "redis", "crm", "relay"]
PROMISED_SECONDS = 5.0
REJECTED = "reject-550@example.com"


class CrmServer:
    """The development CRM on its own port. A test can stop it, or freeze it: then it never responds."""

    def __init__(self, contacts: int) -> None:
        self.book = ContactBook.of_size(contacts)
        self.port = 0
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._serving = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = create_crm_app(self.book, CRM_TOKEN, faults=self._wait)
        self.port = await self._serving.enter_async_context(serving(app, self.port))

    async def stop(self) -> None:
        await self._serving.aclose()

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def _wait(self, _: Request) -> Response | None:
        await self._thawed.wait()
        return None


@dataclass
class Servers:
    """The API, the worker and everything that they depend on, all running."""

    postgres: PostgresServer
    valkey: ValkeyServer
    relay: Relay
    crm: CrmServer
    worker: WorkerProcess
    api_process: asyncio.subprocess.Process
    api_log: Path
    api: httpx.AsyncClient
    """A client of the API with an administrator's token; paths begin at the root."""
    internal: httpx.AsyncClient
    """A client of the internal port."""
    frozen: list[int] = field(default_factory=list)

    async def get(self, path: str) -> dict[str, Any]:
        response = await self.api.get(f"/api/marketing/{path}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def post(self, path: str, status: int, body: dict[str, Any] | None = None) -> dict[str, Any]:
        response = await self.api.post(f"/api/marketing/{path}", json=body)
        assert response.status_code == status, response.text
        made: dict[str, Any] = response.json()
        return made

    async def save(self, *statuses: str, subject: str = "Hello") -> str:
        """Create a draft; returns its id."""
        audience = {"type": "BY_STATUS", "statuses": list(statuses)} if statuses else {"type": "ALL"}
        message = {"name": subject, "subject": subject, "fromEmail": "news@acme.example", "textBody": "Hello"}
        return str((await self.post("campaigns", 201, {**message, "audience": audience}))["id"])

    async def until_sent(self, campaign_id: str) -> None:
        async def sent() -> bool:
            return bool((await self.get(f"campaigns/{campaign_id}"))["status"] == "SENT")

        await until(sent, seconds=60)

    async def missing(self) -> list[str]:
        """The dependencies that /readyz calls missing; checks that its status agrees."""
        response = await self.internal.get("/readyz")
        missing: list[str] = response.json()["missing"]
        assert response.status_code == (503 if missing else 200)
        assert ("retry-after" in response.headers) == bool(missing)
        return missing

    async def until_ready(self) -> None:
        async def ready() -> bool:
            return not await self.missing()

        await until(ready, seconds=60)

    @asynccontextmanager
    async def without(self, dependency: Dependency, *, frozen: bool = False) -> AsyncIterator[None]:
        """Stop a dependency while the block runs. A frozen one accepts connections instead, and never responds."""
        await (self._freeze(dependency) if frozen else self._stop(dependency))
        try:
            yield
        finally:
            await (self._thaw(dependency) if frozen else self._start(dependency))

    async def _stop(self, dependency: Dependency) -> None:
        match dependency:
            case "postgresql" | "redis":
                await asyncio.to_thread(self._server(dependency).stop)
            case "crm":
                await self.crm.stop()
            case "relay":
                await self.relay.stop()

    async def _start(self, dependency: Dependency) -> None:
        match dependency:
            case "postgresql" | "redis":
                await asyncio.to_thread(self._server(dependency).start)
            case "crm":
                await self.crm.start()
            case "relay":
                await self.relay.start()

    async def _freeze(self, dependency: Dependency) -> None:
        match dependency:
            case "postgresql" | "redis":
                pid = self._server(dependency).pid
                # The parent is stopped first, so that it cannot start further processes.
                os.kill(pid, signal.SIGSTOP)
                self.frozen = [pid, *descendants(pid)]
                for process in self.frozen:
                    os.kill(process, signal.SIGSTOP)
            case "crm":
                self.crm.freeze()
            case "relay":
                self.relay.stall()

    async def _thaw(self, dependency: Dependency) -> None:
        match dependency:
            case "postgresql" | "redis":
                for process in reversed(self.frozen):
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGCONT)
            case "crm":
                self.crm.thaw()
            case "relay":
                self.relay.resume()

    def _server(self, dependency: Dependency) -> PostgresServer | ValkeyServer:
        return self.postgres if dependency == "postgresql" else self.valkey

    def mailed(self, subject: str) -> list[str]:
        """The recipients of the accepted messages with this subject."""
        return sorted(
            recipient
            for message in self.relay.accepted
            if message_from_bytes(message.content)["Subject"] == subject
            for recipient in message.recipients
        )

    def links(self) -> list[tuple[str, str]]:
        """The address and the unsubscribe link of each accepted message."""
        return [
            (message.recipients[0], str(message_from_bytes(message.content)["List-Unsubscribe"]).strip("<> \r\n"))
            for message in self.relay.accepted
        ]


@asynccontextmanager
async def running_servers(folder: Path, *, contacts: int, **settings: str) -> AsyncIterator[Servers]:
    """Start everything. The relay refuses the recipient REJECTED."""
    async with AsyncExitStack() as stack:
        postgres = PostgresServer(folder / "postgres", durable=False)
        valkey = ValkeyServer(folder / "valkey")
        for server in (postgres, valkey):
            stack.push_async_callback(asyncio.to_thread, server.stop)
            await asyncio.to_thread(server.start)
        await asyncio.to_thread(migrate, postgres.url())
        relay = await stack.enter_async_context(Relay())
        relay.on(Step.RCPT, answer(550, "5.1.1 No such user"), when=lambda now: now.recipient == REJECTED)
        crm = CrmServer(contacts)
        await crm.start()
        stack.push_async_callback(crm.stop)

        port = free_port()
        base_url = f"http://127.0.0.1:{port}"
        environment = worker_environment(
            database_url=postgres.url(), redis_url=valkey.url(), smtp_url=relay.url, crm_url=crm.url,
            public_base_url=base_url, **({"log_level": "INFO"} | settings),
        )  # fmt: skip
        internal_port = free_port()
        api_process = await stack.enter_async_context(serve(port, internal_port, environment, folder / "api.log"))
        worker = await stack.enter_async_context(worker_process(environment, folder / "worker.log"))
        api = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=base_url, headers=BROWSER | {"Authorization": f"Bearer {admin_token()}"}, timeout=30
            )
        )
        internal = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{internal_port}", timeout=30)
        )
        servers = Servers(postgres, valkey, relay, crm, worker, api_process, folder / "api.log", api, internal)
        await servers.until_ready()

        async def worker_started() -> bool:
            return "worker_started" in worker.log()

        await until(worker_started, seconds=60)  # before that, a signal ends it without a drain
        yield servers
        worker.signal(signal.SIGTERM)
        assert await worker.wait() == 0, worker.log()


@asynccontextmanager
async def serve(
    port: int, internal_port: int, environment: dict[str, str], log: Path, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the API while the block runs; the block begins when the API responds."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "marketing_service", "serve",
            "--port", str(port), "--internal-port", str(internal_port), *options,
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip

    async def alive() -> bool:
        assert process.returncode is None, f"the API does not start; see {log}"
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{internal_port}/healthz")).is_success
        return False

    try:
        await until(alive, seconds=60)
        yield process
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0, f"the API failed at its end; see {log}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def admin_token() -> str:
    return mint_token(
        JWT_SECRET, ISSUER, "marketing",
        subject="ada", org_id=ORG_ID, roles=["ADMIN"], features=["marketing"], lifetime_seconds=3600,
    )  # fmt: skip
