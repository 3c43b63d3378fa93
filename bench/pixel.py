"""Pixel loads, compared with an empty FastAPI route: `make bench-pixel`, or `python -m bench.pixel --help`.

One process of the same server serves each of them. `wrk` (a Debian package) requests them in turn over the same number
of connections, for several rounds. Every pixel belongs to a different send. PostgreSQL runs with its default settings
(`fsync` is on) on the same processors. The benchmark asserts no times. It asserts that every load with a response is
committed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
from bench import machine
from bench.reads import FILL_CAMPAIGNS, FILL_SENDS
from bench.service import TOKEN_KEY, Service
from fastapi import FastAPI
from sqlalchemy import text

from marketing_service.db import Database
from marketing_service.devstack.process import GuardedProcess, free_port
from marketing_service.tokens import Purpose, TokenKeyring

if TYPE_CHECKING:
    from collections.abc import Sequence

WRK = shutil.which("wrk")
GOAL = 1.5
_CAMPAIGNS = 4

# The script for wrk. Each request takes the next path of the file, so no path is requested twice.
_NEXT_PATH = """
local paths = io.open("{file}"):lines()
function request()
  return wrk.format("GET", paths() or "/used-up", {{["User-Agent"] = "{agent}"}})
end
"""
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.0"


def empty_app() -> FastAPI:
    """An application with one route that does nothing. `uvicorn` loads it by the name of this function."""
    app = FastAPI(openapi_url=None)

    @app.get("/")
    async def nothing() -> None:
        return None

    return app


class Load(NamedTuple):
    """What `wrk` reports: requests that got a response, and their number per second."""

    requests: int
    rate: float

    @classmethod
    def parse(cls, output: str) -> Load:
        """Read the output of `wrk`. Raises SystemExit if it has another form."""
        requests = re.search(r"(\d+) requests in", output)
        rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
        if requests is None or rate is None:
            raise SystemExit(f"the output of wrk is not understood:\n{output}")
        return cls(int(requests[1]), float(rate[1]))


class Bench:
    """Runs `wrk` for `seconds` over `connections` connections."""

    def __init__(self, service: Service, folder: Path, *, connections: int, seconds: int) -> None:
        self._service = service
        self._folder = folder
        self._connections = connections
        self._seconds = seconds

    def empty_route(self) -> float:
        """Requests per second of the empty route."""
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--factory", "bench.pixel:empty_app", f"--port={port}"]
        command += ["--http=httptools", "--loop=uvloop", "--no-access-log", "--log-level=warning"]
        with ExitStack() as stack:
            _start(stack, GuardedProcess("empty route", command, log=self._folder / "empty.log"), port, "/")
            return self._load(port, ["/"] * 1_000_000).rate

    def pixels(self, sends: int) -> float:
        """Pixel loads per second. Each is for a different send, and is committed before its response."""
        name, environment = self._service.database()
        with ExitStack() as stack:
            stack.callback(self._service.postgres.drop_database, name)
            owner_url = self._service.postgres.url(name)
            paths = asyncio.run(_fill(owner_url, sends))
            port = free_port()
            internal_port = free_port()
            command = [sys.executable, "-m", "marketing_service", "serve", f"--port={port}"]
            command += [f"--internal-port={internal_port}"]
            process = GuardedProcess("api", command, log=self._folder / "api.log", env=environment)
            _start(stack, process, internal_port, "/healthz")
            load = self._load(port, paths)
            opened = asyncio.run(_opened(owner_url))
            if opened < load.requests:
                raise SystemExit(f"{load.requests} loads got a response, but only {opened} opens are committed")
            return load.rate

    def _load(self, port: int, paths: Sequence[str]) -> Load:
        if WRK is None:
            raise SystemExit("wrk is missing: apt-get install wrk")
        file, script = self._folder / "paths", self._folder / "paths.lua"
        file.write_text("\n".join(paths), encoding="ascii")
        script.write_text(_NEXT_PATH.format(file=file, agent=_AGENT), encoding="ascii")
        command = [WRK, "-t1", f"-c{self._connections}", f"-d{self._seconds}s", "-s", str(script)]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True
        ).stdout
        if "Non-2xx" in output or "Socket errors" in output:
            raise SystemExit(f"some requests failed; a larger --sends may be needed:\n{output}")
        return Load.parse(output)


def _start(stack: ExitStack, process: GuardedProcess, port: int, path: str) -> None:
    stack.callback(process.stop)

    def responds() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}").is_success
        except httpx.TransportError:
            return False

    process.wait_until(responds, 30.0)


async def _fill(url: str, sends: int) -> list[str]:
    """Insert delivered sends. Returns the path of a valid pixel for each."""
    owner = Database(url, role=None)
    each = sends // _CAMPAIGNS
    tokens = TokenKeyring([TOKEN_KEY.encode()])
    async with owner.transaction() as tx:
        await tx.connection.execute(text(FILL_CAMPAIGNS.format(campaigns=_CAMPAIGNS, each=each)))
        await tx.connection.execute(text(FILL_SENDS.format(each=each)))
        ids = (await tx.connection.execute(text("SELECT id FROM marketing_sends ORDER BY random()"))).scalars().all()
        await tx.connection.execute(text("UPDATE marketing_sends SET sent_at = now() - interval '1 hour'"))
    async with owner.transaction() as tx:
        await tx.connection.execute(text("ANALYZE marketing_sends, marketing_campaigns"))
    await owner.close()
    return [f"/api/marketing/pixel/{tokens.issue(Purpose.OPEN, send_id)}.gif" for send_id in ids]


async def _opened(url: str) -> int:
    """Return the number of opened sends. Raises SystemExit if the campaigns' counters differ from it."""
    owner = Database(url, role=None)
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text(
                "SELECT count(*), (SELECT sum(opens) FROM marketing_campaigns)"
                " FROM marketing_sends WHERE opened_at IS NOT NULL"
            )
        )
        opened, counted = rows.one()
    await owner.close()
    if opened != counted:
        raise SystemExit(f"{opened} sends are opened, but the campaigns' counters say {counted}")
    return int(opened)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=8, help="length of a round, default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--sends", type=int, default=400_000, help="must be more than the pixel loads of a round; default: %(default)s"
    )
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"empty route": [], "pixel": []}
    with tempfile.TemporaryDirectory(prefix="marketing-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)  # root starts PostgreSQL as another account, which must reach the folder
        with Service.started(folder) as service:
            bench = Bench(service, folder, connections=options.connections, seconds=options.seconds)
            for _ in range(options.rounds):
                rates["empty route"].append(bench.empty_route())
                rates["pixel"].append(bench.pixels(options.sends))
                print("  ".join(f"{name}: {values[-1]:,.0f}/s" for name, values in rates.items()), flush=True)
    ratios = [pixel / empty for pixel, empty in zip(rates["pixel"], rates["empty route"], strict=True)]
    print(f"\n{machine.describe()}, {options.connections} connections, {options.rounds} rounds, medians")
    for name, values in rates.items():
        print(f"{name:<12} {statistics.median(values):>9,.0f} requests/s")
    print(f"{statistics.median(ratios):.2f} x  (goal: {GOAL})")


if __name__ == "__main__":
    main()
