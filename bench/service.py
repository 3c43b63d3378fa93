"""The service under load: PostgreSQL with its default settings (fsync is on), Valkey, a CRM, and worker processes."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from bench import campaign as content
from bench.machine import cpu_seconds, resident_megabytes
from sqlalchemy import insert, text

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import GuardedProcess, free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ledger import lifecycle
from marketing_service.queue import ArqJobQueue, connect
from marketing_service.store.tables import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from uuid import UUID

    from bench.relays import Sink

_ORG = "bench"
_POLL = 0.1
_TEMPLATE = "template"
_SECRET = "a-secret-of-at-least-thirty-two-bytes"
TOKEN_KEY = "a-token-key-of-at-least-thirty-two-bytes"


@dataclass(frozen=True, slots=True)
class Run:
    """One campaign, from its launch to SENT. Times are in seconds and come from PostgreSQL's clock."""

    recipients: int
    counters: dict[str, int]
    accepted_by_sink: int
    sending_seconds: float
    """From the first mark, which is committed before the submission, to the commit of the last result."""
    launch_to_sent_seconds: float
    expansion_seconds: float
    cpu_seconds: dict[str, float]
    """Processor time by process, measured from the moment the campaign is expanded."""
    memory: list[float] = field(default_factory=list)
    """Resident MiB of all workers together, after each tenth of the sends has a result."""

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.counters["delivered"] / self.sending_seconds

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"messages_per_second": round(self.rate, 1)}


@dataclass
class Service:
    """The servers that run during the whole benchmark. Every run gets its own database and an empty queue."""

    folder: Path
    postgres: PostgresServer
    valkey: ValkeyServer

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[Service]:
        with ExitStack() as stack:
            postgres = stack.enter_context(PostgresServer(folder / "postgres", durable=True))
            valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
            postgres.create_database(_TEMPLATE)
            config = Config("alembic.ini")
            config.attributes["database_url"] = postgres.url(_TEMPLATE)
            command.upgrade(config, "head")
            yield cls(folder, postgres, valkey)

    def run(
        self,
        sink: Sink,
        *,
        port: int | None = None,
        recipients: int,
        connections: int,
        workers: int = 1,
        samples: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Run:
        """Launch one campaign and wait until it is SENT. `connections` is the total of all workers.

        With `samples`, each worker runs with the profiler and writes its samples to `<samples>.<number>.json`.
        """
        relay = {"smtp_url": f"smtp://127.0.0.1:{port or sink.port}", "smtp_connections": str(connections // workers)}
        name, environment = self.database(relay | dict(settings or {}))
        with ExitStack() as stack:
            stack.callback(self.postgres.drop_database, name)
            crm = self._crm(stack, recipients, int(environment["MARKETING_CRM_URL"].rpartition(":")[2]))
            worker_pids = [self._worker(stack, environment, n, samples) for n in range(workers)]
            pids_by_name = {
                "worker": worker_pids,
                "postgresql": [self.postgres.pid],
                "valkey": [self.valkey.pid],
                "sink": [sink.pid],
            }
            run = asyncio.run(self._campaign(name, pids_by_name, sink))
            crm.stop()
        return run

    def latencies(self, sink: Sink, *, recipients: int, campaigns: int) -> list[float]:
        """Seconds from the launch of a campaign to the first mark, which is committed right before the first message is
        written. One campaign after the other, on a worker that has nothing else to do."""
        name, environment = self.database({"smtp_url": f"smtp://127.0.0.1:{sink.port}"})
        with ExitStack() as stack:
            stack.callback(self.postgres.drop_database, name)
            crm = self._crm(stack, recipients, int(environment["MARKETING_CRM_URL"].rpartition(":")[2]))
            self._worker(stack, environment, 0, None)
            seconds = asyncio.run(self._latencies(name, campaigns))
            crm.stop()
        return seconds

    async def _latencies(self, database: str, campaigns: int) -> list[float]:
        async with AsyncExitStack() as stack:
            owner = Database(self.postgres.url(database), role=None, pool_size=2)
            stack.push_async_callback(owner.close)
            redis = connect(self.valkey.url())
            stack.push_async_callback(redis.aclose, close_connection_pool=True)
            seconds = []
            for number in range(campaigns):
                # Launches do not begin at the same moment of a period of the worker.
                await asyncio.sleep(_POLL + _POLL * (number % 7) / 7)
                campaign_id = await _launch(owner, ArqJobQueue(redis))
                while (row := await _row(owner, campaign_id))["status"] == "SENDING":  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_POLL)
                seconds.append((await _first_mark(owner, campaign_id) - row["launched_at"]).total_seconds())
        return seconds

    def database(self, settings: Mapping[str, str] | None = None) -> tuple[str, dict[str, str]]:
        """Create an empty database. Returns its name, and the environment for processes that use it."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        self.postgres.create_database(name, template=_TEMPLATE)
        values = {
            "database_url": self.postgres.url(name),
            "redis_url": self.valkey.url(),
            "crm_url": f"http://127.0.0.1:{free_port()}",
            "crm_token": "bench",
            "public_base_url": "https://portal.example.com",
            "token_keys": TOKEN_KEY,
            "jwt_secret": _SECRET,
            "jwt_issuer": "bench",
            "jwt_audience": "bench",
            "retry_delays": "1,1",
        } | dict(settings or {})
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")}
        return name, inherited | {f"MARKETING_{key.upper()}": value for key, value in values.items()}

    def _crm(self, stack: ExitStack, contacts: int, port: int) -> GuardedProcess:
        crm = GuardedProcess(
            "CRM",
            [sys.executable, "-m", "bench.crm", f"--port={port}", f"--contacts={contacts}"],
            log=self.folder / "crm.log",
        )
        stack.callback(crm.stop)
        return crm

    def _worker(self, stack: ExitStack, environment: Mapping[str, str], number: int, samples: Path | None) -> int:
        module = ["marketing_service", "worker"] if samples is None else ["bench.sampler", f"{samples}.{number}.json"]
        process = GuardedProcess(
            f"worker {number}",
            [sys.executable, "-m", *module],
            log=self.folder / f"worker{number}.log",
            env=environment,
            grace_seconds=40.0,
        )
        stack.callback(process.stop)
        process.wait_until(lambda: "worker_started" in process.last_lines(), 30.0)
        return process.pid

    async def _campaign(self, database: str, pids_by_name: Mapping[str, list[int]], sink: Sink) -> Run:
        async with AsyncExitStack() as stack:
            owner = Database(self.postgres.url(database), role=None, pool_size=2)
            stack.push_async_callback(owner.close)
            redis = connect(self.valkey.url())
            stack.push_async_callback(redis.aclose, close_connection_pool=True)
            await redis.flushall()
            campaign_id = await _launch(owner, ArqJobQueue(redis))
            used_before: dict[str, float] | None = None
            memory: list[float] = []
            accepted_before = sink.accepted()
            while (row := await _row(owner, campaign_id))["status"] == "SENDING":
                if used_before is None and row["expanded_at"] is not None:
                    used_before = _cpu_seconds_by_name(pids_by_name)
                not_queued = row["recipients"] - row["queued"]
                if row["recipients"] and not_queued * 10 >= row["recipients"] * (len(memory) + 1):
                    memory.append(round(sum(map(resident_megabytes, pids_by_name["worker"])), 1))
                await asyncio.sleep(_POLL)
            used = _cpu_seconds_by_name(pids_by_name)
            if row["status"] != "SENT":
                raise RuntimeError(f"the campaign is {row['status']}: {row['failure_message']}")
            first_mark = await _first_mark(owner, campaign_id)
        return Run(
            recipients=row["recipients"],
            counters={key: row[key] for key in ("delivered", "failed", "skipped", "unconfirmed", "deferred")},
            accepted_by_sink=sink.accepted() - accepted_before,
            sending_seconds=round((row["sent_at"] - first_mark).total_seconds(), 3),
            launch_to_sent_seconds=round((row["sent_at"] - row["launched_at"]).total_seconds(), 3),
            expansion_seconds=round((row["expanded_at"] - row["launched_at"]).total_seconds(), 3),
            cpu_seconds={name: round(used[name] - (used_before or used)[name], 2) for name in used},
            memory=memory,
        )


async def _launch(owner: Database, job_queue: ArqJobQueue) -> UUID:
    """Create a campaign and launch it, in the same way as the API."""
    values = {
        "org_id": _ORG,
        "name": "Bench",
        "from_name": "Example Ltd",
        "from_email": content.FROM_EMAIL,
        "subject": content.SUBJECT,
        "html_body": content.HTML,
        "text_body": content.TEXT,
        "created_by": "bench",
    }
    async with owner.transaction() as tx:
        statement = insert(campaigns).values(**values).returning(campaigns.c.id)
        campaign_id: UUID = (await tx.connection.execute(statement)).scalar_one()
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        tx.after_commit(partial(job_queue.enqueue_expansion, campaign_id, 0))
    return campaign_id


async def _row(owner: Database, campaign_id: UUID) -> dict[str, Any]:
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT * FROM marketing_campaigns WHERE id = :id"), {"id": campaign_id}
        )
        return dict(rows.mappings().one())


async def _first_mark(owner: Database, campaign_id: UUID) -> Any:
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT min(marked_at) FROM marketing_sends WHERE campaign_id = :id"), {"id": campaign_id}
        )
        return rows.scalar_one()


def _cpu_seconds_by_name(pids_by_name: Mapping[str, list[int]]) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in pids_by_name.items()}
