"""Speed of the expansion, from the CRM over HTTP and from views of its database: `python -m bench.expansion`.

The worker, PostgreSQL (with fsync and the production indexes), the CRM and this script share the processors of the
machine. The measured time is from the commit of the launch to the commit of the complete recipient list. Nothing is
sent, because the campaign is paused before it is expanded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from bench.machine import cpu_seconds, describe
from sqlalchemy import insert, text

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import GuardedProcess, free_port
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.ledger import lifecycle
from marketing_service.queue import ArqJobQueue, connect
from marketing_service.store.tables import campaigns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_ORG = "bench"
_POLL = 0.05
_GOALS = {"http": 20_000, "view": 50_000}
_MAX_MEGABYTES = 200
_EXAMPLE = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INSERT_PEOPLE = """
    INSERT INTO people (tenant, id, email, given_name, family_name, company, stage)
    SELECT 'bench', 'c' || lpad(n::text, 8, '0'), 'person' || n || '@example.org', 'Zoë', 'O''Neill',
           'Fish & Chips Ltd', 'CUSTOMER'
    FROM generate_series(0, {contacts} - 1) AS n
"""


@dataclass(frozen=True, slots=True)
class ExpansionRun:
    """One expansion. Times are in seconds, memory is the worker's peak in megabytes."""

    source: str
    contacts: int
    seconds: float
    reading_seconds: float
    worker_cpu_seconds: float
    postgresql_cpu_seconds: float
    megabytes: float
    wal_bytes_per_contact: int

    @property
    def rate(self) -> float:
        """Contacts per second."""
        return self.contacts / self.seconds

    def line(self) -> str:
        merging = self.seconds - self.reading_seconds
        return (
            f"{self.source}: {self.contacts:,} contacts in {self.seconds:.1f} s: {self.reading_seconds:.1f} reading,"
            f" {merging:.1f} merging; processor: worker {self.worker_cpu_seconds:.1f} s,"
            f" PostgreSQL {self.postgresql_cpu_seconds:.1f} s; {self.wal_bytes_per_contact} bytes of WAL per contact"
        )


class Bench:
    """The servers that run during the whole benchmark."""

    def __init__(self, stack: ExitStack, folder: Path, contacts: int) -> None:
        self._folder = folder
        self._contacts = contacts
        self._postgres = stack.enter_context(PostgresServer(folder / "postgres", durable=True))
        self._valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self._postgres.create_database("template")
        config = Config("alembic.ini")
        config.attributes["database_url"] = self._postgres.url("template")
        command.upgrade(config, "head")

    def run(self, source: str) -> ExpansionRun:
        """Expand one campaign from `source` (`http` or `view`), in its own database."""
        name = f"bench_{source}"
        self._postgres.create_database(name, template="template")
        views = _EXAMPLE.findall(Path("docs/audience-view.md").read_text(encoding="utf-8"))
        with ExitStack() as stack:
            stack.callback(self._postgres.drop_database, name)
            crm = self._crm_over_http(stack) if source == "http" else asyncio.run(self._crm_database(views))
            worker = self._worker(stack, name, crm)
            return asyncio.run(self._expand(source, name, worker))

    def _crm_over_http(self, stack: ExitStack) -> dict[str, str]:
        port = free_port()
        crm = GuardedProcess(
            "CRM",
            [sys.executable, "-m", "bench.crm", f"--port={port}", f"--contacts={self._contacts}"],
            log=self._folder / "crm.log",
        )
        stack.callback(crm.stop)
        return {"CRM_URL": f"http://127.0.0.1:{port}", "CRM_TOKEN": "bench"}

    async def _crm_database(self, views: list[str]) -> dict[str, str]:
        """Create and fill the CRM database of docs/audience-view.md. Returns the settings of the worker for it."""
        self._postgres.create_database("crm")
        url = self._postgres.url("crm")
        crm = Database(url, role=None)
        for block in views:
            async with crm.transaction() as tx:
                driver: Any = (await tx.connection.get_raw_connection()).driver_connection
                await driver.execute(block)
        async with crm.transaction() as tx:
            await tx.connection.exec_driver_sql(_INSERT_PEOPLE.format(contacts=self._contacts))
        async with crm.transaction() as tx:
            await tx.connection.exec_driver_sql("ANALYZE people")
        await crm.close()
        return {"CRM_DATABASE_URL": url}

    def _worker(self, stack: ExitStack, database: str, crm: Mapping[str, str]) -> int:
        values = {
            "DATABASE_URL": self._postgres.url(database),
            "REDIS_URL": self._valkey.url(),
            "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
            "PUBLIC_BASE_URL": "https://portal.example.com",
            "TOKEN_KEYS": "a-token-key-of-at-least-thirty-two-bytes",
            "JWT_SECRET": "a-secret-of-at-least-thirty-two-bytes",
            "JWT_ISSUER": "bench",
            "JWT_AUDIENCE": "bench",
            **crm,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MARKETING_")}
        process = GuardedProcess(
            "worker",
            [sys.executable, "-m", "marketing_service", "worker"],
            log=self._folder / "worker.log",
            env=inherited | {f"MARKETING_{name}": value for name, value in values.items()},
        )
        stack.callback(process.stop)
        process.wait_until(lambda: "worker_started" in process.last_lines(), 30.0)
        return process.pid

    async def _expand(self, source: str, database: str, worker: int) -> ExpansionRun:
        owner = Database(self._postgres.url(database), role=None, pool_size=2)
        redis = connect(self._valkey.url())
        await redis.flushall()
        worker_before, postgres_before = cpu_seconds(worker), cpu_seconds(self._postgres.pid)
        wal_before = await _scalar(owner, "SELECT pg_current_wal_insert_lsn()::text")
        campaign_id = await _launch(owner, ArqJobQueue(redis))
        started = time.monotonic()
        read_at = None
        while (row := await _row(owner, campaign_id))["expanded_at"] is None:
            if row["status"] != "SENDING":
                raise RuntimeError(f"the campaign is {row['status']}: {row['failure_message']}")
            if read_at is None and row["expansion_fetched"] == self._contacts:
                read_at = time.monotonic()
            await asyncio.sleep(_POLL)
        seconds = time.monotonic() - started
        if row["recipients"] != self._contacts or row["queued"] != self._contacts:
            raise RuntimeError(f"{row['recipients']} recipients instead of {self._contacts}")
        wal_bytes = await _scalar(owner, f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{wal_before}')::bigint")
        await redis.aclose(close_connection_pool=True)
        await owner.close()
        return ExpansionRun(
            source=source,
            contacts=self._contacts,
            seconds=round(seconds, 2),
            reading_seconds=round((read_at or time.monotonic()) - started, 2),
            worker_cpu_seconds=round(cpu_seconds(worker) - worker_before, 2),
            postgresql_cpu_seconds=round(cpu_seconds(self._postgres.pid) - postgres_before, 2),
            megabytes=_peak_megabytes(worker),
            wal_bytes_per_contact=wal_bytes // self._contacts,
        )


async def _launch(owner: Database, job_queue: ArqJobQueue) -> UUID:
    values = {
        "org_id": _ORG,
        "name": "Bench",
        "from_email": "news@example.com",
        "subject": "News for {{ firstName }}",
        "text_body": "Dear {{ firstName }}, there is news.",
        "created_by": "bench",
    }
    async with owner.transaction() as tx:
        statement = insert(campaigns).values(**values).returning(campaigns.c.id)
        campaign_id: UUID = (await tx.connection.execute(statement)).scalar_one()
    async with owner.transaction() as tx:
        await lifecycle.launch(tx.connection, campaign_id, audience=None)
        await tx.connection.execute(
            text("UPDATE marketing_campaigns SET paused_at = now(), pause_reason = 'USER' WHERE id = :id"),
            {"id": campaign_id},
        )
        tx.after_commit(partial(job_queue.enqueue_expansion, campaign_id, 0))
    return campaign_id


async def _row(owner: Database, campaign_id: UUID) -> dict[str, Any]:
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT * FROM marketing_campaigns WHERE id = :id"), {"id": campaign_id}
        )
        return dict(rows.mappings().one())


async def _scalar(owner: Database, query: str) -> Any:
    async with owner.transaction() as tx:
        return (await tx.connection.execute(text(query))).scalar_one()


def _peak_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return round(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--sources", nargs="*", choices=list(_GOALS), default=list(_GOALS))
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        bench = Bench(stack, Path(folder), options.contacts)
        for source in options.sources:
            run = bench.run(source)
            runs.append(run)
            print(run.line())
            print(f"  {run.rate:,.0f}/s: {run.rate / _GOALS[source]:.2f} of the goal of {_GOALS[source]:,}/s")
            share = run.megabytes / _MAX_MEGABYTES
            print(
                f"  peak memory {run.megabytes} MB: {share:.2f} of the limit of {_MAX_MEGABYTES} MB",
                flush=True,
            )
    if options.json:
        report = {"machine": describe(), "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
