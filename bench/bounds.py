"""Hostile inputs to a running API: `make bench-bounds`, or `python -m bench.bounds --help`.

For each input a new API process is started. While it works on the input, another process asks for `/healthz` again and
again. The table shows the longest time that `/healthz` took, and how far the resident memory of the API rose. The
benchmark asserts nothing; an input that is refused, and one that breaks the connection, counts like any other.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import select
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from bench import machine
from bench.hostile_crm import HostileCrm
from bench.reads import FILL_CAMPAIGNS, FILL_SENDS
from bench.service import Service
from sqlalchemy import text

from marketing_service.auth.mint import mint_token
from marketing_service.db import Database
from marketing_service.devstack.process import GuardedProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

GOAL_MS, GOAL_MB = 100, 64
_MAX_SECONDS = 60.0
"""Seconds that the sender of one input waits for the API."""
_SENDS = 50_000
_PROBE_PAUSE = 0.005
_JSON = {"content-type": "application/json"}


@dataclass
class Target:
    """The API that an input is sent to."""

    port: int
    token: str
    crm: HostileCrm
    campaign: str

    @property
    def authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> str:
        """Send a request, read the whole response, and return its status."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=_MAX_SECONDS) as client:
            response = await client.request(method, path, content=body, headers=headers)
        return f"{response.status_code}, {len(response.content) / 1024:,.0f} KB"

    async def post(self, path: str, body: object) -> str:
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", path, self.authorization | _JSON, octets)

    async def preview(self, html: str) -> str:
        return await self.post("/api/marketing/preview", {"subject": "Hello", "htmlBody": html})

    async def crm_answers(self, answer: str) -> str:
        self.crm.answer = answer
        return await self.send("GET", "/api/marketing/contact-statuses", self.authorization)

    async def raw(self, *parts: bytes, connections: int = 1, pause: float = 0.0) -> str:
        """Write the parts to so many connections, with a pause after each, and return what came back."""
        opened = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", self.port) for _ in range(connections)), return_exceptions=True
        )
        alive = [pair for pair in opened if not isinstance(pair, BaseException)]
        first = b""
        try:
            for part in parts:
                for _, writer in alive:
                    writer.write(part)
                await asyncio.sleep(pause)
            async with asyncio.timeout(2):
                first = await alive[0][0].read(12)
        finally:
            for _, writer in alive:
                writer.transport.abort()
        return f"{len(alive)} connections, {first.decode('ascii', 'replace') or 'closed'}"


_HEAD = b"GET /api/marketing/campaigns HTTP/1.1\r\nhost: x\r\n"
_REPORT = b"From: <>\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"


def _many_fields(target: Target) -> Awaitable[str]:
    return target.post("/api/marketing/campaigns", {f"{number:x}": 0 for number in range(200_000)})


def _anonymous(target: Target) -> Awaitable[str]:
    return target.send("POST", "/api/marketing/campaigns", _JSON, b"[" + b"[]," * 900_000 + b"[]]")


def _report(target: Target, body: bytes) -> Awaitable[str]:
    kind = {"content-type": "message/rfc822", "recipient": "b+x@bounces.example.com"}
    return target.send("POST", "/api/marketing/bounces", target.authorization | kind, _REPORT + body)


def _csv(target: Target, rows: bytes) -> Awaitable[str]:
    kind = {"content-type": "text/csv"}
    return target.send("POST", "/api/marketing/suppressions.csv", target.authorization | kind, b"email,note\r\n" + rows)


INPUTS: dict[str, Callable[[Target], Awaitable[str]]] = {
    "HTML: one tag with 30,000 letters": lambda to: to.preview("<a " + "a" * 30_000 + ">"),
    "HTML: 60,000 quotes in one tag": lambda to: to.preview("<a x=" + "\"'" * 30_000 + ">"),
    "HTML: list of depth 10,000": lambda to: to.preview("<ul><li>" * 10_000),
    "HTML: character reference of 5,000 digits": lambda to: to.preview("&#" + "9" * 5000 + ";"),
    "HTML: 20,000 open comments": lambda to: to.preview("<!--" * 20_000),
    "template: 2,000 nested conditions": lambda to: to.preview(
        "{% if firstName %}" * 2000 + "x" + "{% endif %}" * 2000
    ),
    "template: 29 KB of filters": lambda to: to.preview("{{ firstName" + " | upcase | default: 'a'" * 1200 + " }}"),
    "JSON: 2.7 MB of empty lists, no token": _anonymous,
    "JSON: depth 500,000": lambda to: to.post("/api/marketing/campaigns", b"[" * 500_000),
    "JSON: 200,000 unknown fields": _many_fields,
    "JSON: a number of 1,000,000 digits": lambda to: to.post(
        "/api/marketing/campaigns", b'{"name": ' + b"9" * 1_000_000 + b"}"
    ),
    "address of 400,000 characters": lambda to: to.post(
        "/api/marketing/campaigns", {"name": "x", "subject": "x", "fromEmail": "a." * 200_000 + "@example.com"}
    ),
    "headers: 20 MB": lambda to: to.raw(_HEAD, *[b"x: " + b"y" * 1_000_000 + b"\r\n"] * 20),
    "headers: 100,000": lambda to: to.raw(_HEAD + b"x: y\r\n" * 100_000),
    "800 slow connections": lambda to: to.raw(_HEAD, *[b"x: y\r\n"] * 4, connections=800, pause=0.5),
    "token of 60,000 characters": lambda to: to.send(
        "GET", "/api/marketing/campaigns", {"authorization": "Bearer " + "a" * 60_000}
    ),
    "cursor of 60,000 characters": lambda to: to.send(
        "GET", f"/api/marketing/campaigns?cursor={'a' * 60_000}", to.authorization
    ),
    "CRM: gzip bomb of 512 MB": lambda to: to.crm_answers("gzip-bomb"),
    "CRM: 400 MB without an end": lambda to: to.crm_answers("endless"),
    "CRM: two bytes per second": lambda to: to.crm_answers("drip"),
    "CRM: JSON of depth 900,000": lambda to: to.crm_answers("deep"),
    "CRM: 50 MB of headers": lambda to: to.crm_answers("headers"),
    "report: 2.9 MB in one line": lambda to: _report(to, b"x" * 2_900_000),
    "report: 2.8 MB of nested parts": lambda to: _report(
        to, b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 55_000
    ),
    "CSV in: a quote that is not closed": lambda to: _csv(to, b'"' + b"a," * 400_000 + b"\r\n"),
    "CSV in: 29 MB, 250,000 rows": lambda to: _csv(
        to, b"".join(b"person%d@example.com,%s\n" % (number, b"x" * 90) for number in range(250_000))
    ),
    "CSV in: 30 MB of line ends": lambda to: _csv(to, b"\n" * 29_900_000),
    "CSV in: 27 MB of commas": lambda to: _csv(to, (b"," * 900_000 + b"\n") * 30),
    "CSV in: 24 MB of formulas": lambda to: _csv(to, (b"a@b.example," + b",'=" * 40_000 + b"\n") * 200),
    f"CSV out: {_SENDS:,} rows": lambda to: to.send(
        "GET", f"/api/marketing/campaigns/{to.campaign}/sends.csv", to.authorization
    ),
}


def peak_megabytes(pid: int) -> float:
    """The largest resident memory of a process since `forget_peak`, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def forget_peak(pid: int) -> None:
    """Let the largest memory be the current one (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def probe(port: int, seconds: float) -> float:
    """The time that one `/healthz` takes, in seconds; `seconds` if it takes longer or fails."""
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", "/healthz")
        if connection.getresponse().status != http.client.OK:
            return seconds
    except OSError:
        return seconds
    finally:
        connection.close()
    return time.monotonic() - started


def probe_until_told(port: int) -> None:
    """Probe until standard input ends, and print the longest time. This runs in a process of its own, so that it does
    not wait for the sender."""
    longest = 0.0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], _PROBE_PAUSE)[0]:
        longest = max(longest, probe(port, _MAX_SECONDS))
    print(longest)


class Bench:
    """The servers of all inputs, and a database with one sent campaign."""

    def __init__(self, service: Service, folder: Path, *, crm_port: int, crm: HostileCrm) -> None:
        self._folder = folder
        self._crm = crm
        url = {"crm_url": f"http://127.0.0.1:{crm_port}", "bounce_domain": "bounces.example.com"}
        name, self._environment = service.database(url)
        self._database = service.postgres.url(name)
        self._token = mint_token(
            self._environment["MARKETING_JWT_SECRET"],
            "bench",
            "bench",
            subject="bench",
            org_id="bench",
            roles=["ADMIN", "BOUNCES"],
            features=["marketing"],
            lifetime_seconds=24 * 3600,
        )
        self._campaign = ""

    async def fill(self) -> None:
        owner = Database(self._database, role=None)
        async with owner.transaction() as tx:
            await tx.connection.execute(text(FILL_CAMPAIGNS.format(campaigns=1, each=_SENDS)))
            await tx.connection.execute(text(FILL_SENDS.format(each=_SENDS)))
            found = await tx.connection.execute(text("SELECT id FROM marketing_campaigns"))
            self._campaign = str(found.scalar_one())
        await owner.close()

    @contextmanager
    def _api(self) -> Iterator[tuple[int, int]]:
        """A new API process: its port and its id."""
        port = free_port()
        command = [sys.executable, "-m", "marketing_service", "serve", f"--port={port}"]
        with ExitStack() as stack:
            process = GuardedProcess("api", command, log=self._folder / "api.log", env=self._environment)
            stack.callback(process.stop)
            process.wait_until(lambda: probe(port, 1.0) < 1.0, 60.0)
            yield port, process.pid

    async def measure(self, send: Callable[[Target], Awaitable[str]]) -> tuple[float, float, str]:
        """Send one input. Returns the longest `/healthz` in ms, the rise of the memory in MB, and the response."""
        with self._api() as (port, pid):
            target = Target(port, self._token, self._crm, self._campaign)
            await target.preview("<p>Hello {{ firstName }}</p>")  # the first request loads what all of them need
            command = [sys.executable, "-m", "bench.bounds", "--probe", str(port)]
            pipe = asyncio.subprocess.PIPE
            prober = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
            if prober.stdout is None:
                raise RuntimeError("the prober has no output")
            await prober.stdout.readline()
            forget_peak(pid)
            before = machine.resident_megabytes(pid)
            try:
                response = await asyncio.wait_for(send(target), _MAX_SECONDS)
            except (httpx.HTTPError, OSError, TimeoutError) as error:
                response = type(error).__name__
            await asyncio.sleep(0.3)  # an input that was answered may still be worked on
            output, _ = await prober.communicate(b"")
            rise = peak_megabytes(pid) - before
        return float(output) * 1000, rise, response


async def run(folder: Path, service: Service, only: str) -> list[str]:
    crm, crm_port = HostileCrm(), free_port()
    server = await crm.start(crm_port)
    bench = Bench(service, folder, crm_port=crm_port, crm=crm)
    await bench.fill()
    lines = []
    for name, send in INPUTS.items():
        if only not in name:
            continue
        longest, rise, response = await bench.measure(send)
        lines.append(f"| {name} | {longest:,.0f} | {rise:,.1f} | {response} |")
        print(lines[-1], flush=True)
    server.close()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the inputs whose name contains this text")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe is not None:
        probe_until_told(options.probe)
        return
    with tempfile.TemporaryDirectory(prefix="marketing-bench-") as path:
        folder = Path(path)
        folder.chmod(0o755)  # root starts PostgreSQL as another account, which must reach the folder
        with Service.started(folder) as service:
            print(f"{machine.describe()}; goals: {GOAL_MS} ms and {GOAL_MB} MB\n")
            print("| input | longest `/healthz`, ms | rise of memory, MB | response |\n| --- | --- | --- | --- |")
            asyncio.run(run(folder, service, options.only))


if __name__ == "__main__":
    main()
