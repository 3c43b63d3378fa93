"""A file of 120,000 rows into the suppression list: `make bench-import`, or `python -m bench.imports --help`.

A campaign with as many waiting sends is SENDING, and half of its addresses are in the file. One API process and one
worker run. Meanwhile the import is read every 0.1 s, and a thread asks for `/healthz`. It prints the seconds from the
request to the end, the longest request, and how far the resident memory of the API rose.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from bench import machine
from bench.bounds import forget_peak, peak_megabytes, probe
from bench.service import Service
from sqlalchemy import text

from marketing_service.auth.mint import mint_token
from marketing_service.db import Database
from marketing_service.devstack.process import GuardedProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

_ORG = "bench"
_POLL = 0.1
_FILL = (
    """
    INSERT INTO marketing_campaigns (org_id, name, from_email, subject, created_by, status, launched_at, expanded_at,
                                     paused_at, pause_reason, recipients, queued)
    VALUES ('bench', 'Bench', 'news@example.com', 'Bench', 'bench', 'SENDING', now(), now(), now(), 'USER', :rows,
            :rows)
    """,
    """
    INSERT INTO marketing_sends (org_id, campaign_id, contact_id, email, address, status, batch)
    SELECT 'bench', c.id, 'c' || n, 'person' || n * 2 || '@example.com', 'person' || n * 2 || '@example.com', 'QUEUED',
           n / 100
    FROM marketing_campaigns c, generate_series(0, CAST(:rows AS integer) - 1) n
    """,
    "ANALYZE",
)


def _file(rows: int) -> bytes:
    lines = (f"person{number}@example.com;asked by telephone, call number {number}\r\n" for number in range(rows))
    return ("E-Mail;Notiz\r\n" + "".join(lines)).encode("utf-16")


async def _probe_until(port: int, ended: asyncio.Event) -> float:
    """The longest answer of /healthz in seconds."""
    longest = 0.0
    while not ended.is_set():
        longest = max(longest, await asyncio.to_thread(probe, port, 60.0))
        await asyncio.sleep(0.005)
    return longest


async def _measure(service: Service, database: str, environment: Mapping[str, str], folder: Path, rows: int) -> None:
    owner = Database(service.postgres.url(database), role=None)
    for statement in _FILL:
        async with owner.transaction() as tx:
            await tx.connection.execute(text(statement), {"rows": rows} if ":rows" in statement else {})
    await owner.close()
    token = mint_token(
        environment["MARKETING_JWT_SECRET"], "bench", "bench",
        subject="ada", org_id=_ORG, roles=["ADMIN"], features=["marketing"], lifetime_seconds=900,
    )  # fmt: skip
    port = free_port()
    with ExitStack() as stack:
        serve = [sys.executable, "-m", "marketing_service", "serve", f"--port={port}"]
        api = GuardedProcess("api", serve, log=folder / "api.log", env=environment)
        stack.callback(api.stop)
        worker = GuardedProcess(
            "worker", [sys.executable, "-m", "marketing_service", "worker"], log=folder / "worker.log", env=environment
        )
        stack.callback(worker.stop)
        api.wait_until(lambda: probe(port, 1.0) < 1.0, 60.0)
        worker.wait_until(lambda: "worker_started" in worker.last_lines(), 60.0)
        ended = asyncio.Event()
        probing = asyncio.create_task(_probe_until(port, ended))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            content = _file(rows)
            await client.get("/api/marketing/suppressions")  # the first request loads what all of them need
            forget_peak(api.pid)
            before = machine.resident_megabytes(api.pid)
            started = time.perf_counter()
            response = await client.post(
                "/api/marketing/suppressions.csv", content=content, headers={"Content-Type": "text/csv"}
            )
            posted = time.perf_counter() - started
            body, longest = response.json(), 0.0
            while not body["finished"]:
                await asyncio.sleep(_POLL)
                asked = time.perf_counter()
                body = (await client.get(response.headers["location"])).json()
                longest = max(longest, time.perf_counter() - asked)
            total = time.perf_counter() - started
        ended.set()
        healthz = await probing
        rise = peak_megabytes(api.pid) - before
    print(f"{rows:,} rows, {len(content) / 1e6:.1f} MB in UTF-16: {response.status_code} after {posted:.2f} s")
    print(f"finished after {total:.1f} s: {body['added']:,} added, {body['known']:,} known")
    print(f"longest GET of the import {longest * 1000:.0f} ms, longest /healthz {healthz * 1000:.0f} ms")
    print(f"memory of the API +{rise:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=120_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="marketing-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)  # root starts PostgreSQL as another account, which must reach the folder
        with Service.started(folder) as service:
            print(machine.describe())
            database, environment = service.database()
            asyncio.run(_measure(service, database, environment, folder, options.rows))


if __name__ == "__main__":
    main()
