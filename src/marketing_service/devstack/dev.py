"""`marketing-service dev`: runs the whole service on one machine, with all the servers that it needs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import httpx
import uvloop

from marketing_service.devstack.contacts import ContactBook
from marketing_service.devstack.data_dir import DataDir
from marketing_service.devstack.environment import Addresses, inherited_environment, ready_content, service_settings
from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import DevstackError, GuardedProcess
from marketing_service.devstack.valkey import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path
    from typing import Any, TextIO

_API_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.25
# The sum stays below ten seconds: that is the time in which everything must stop.
_WORKER_GRACE_SECONDS = 5.0
_API_GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class DevOptions:
    """The command-line options of `marketing-service dev`. `port` 0 means any; a negative `contacts` means none."""

    port: int
    data_dir: Path
    contacts: int = 1000
    worker: bool = True
    fresh: bool = False


def run_dev(options: DevOptions) -> int:
    """Runs everything until a signal stops it. Returns the exit code: 0, or 1 after an error."""
    try:
        data_dir = DataDir(options.data_dir)
        with data_dir.locked() as inherited:
            if options.fresh:
                data_dir.clear()
            uvloop.run(_Run(options, data_dir, inherited).until_stopped())
    except (DevstackError, OSError) as error:
        _print(f"marketing-service dev: {error}", sys.stderr)
        return 1
    return 0


class _StopRequested(Exception):
    """A stop was requested before everything had started."""


class _Run:
    """One run, from the start of the first process to the end of the last one."""

    def __init__(self, options: DevOptions, data_dir: DataDir, inherited: int) -> None:
        self._options = options
        self._data_dir = data_dir
        self._inherited = inherited
        self._started_at = time.monotonic()
        self._parent = None if _is_detached() else os.getppid()
        self._stop = asyncio.Event()
        self._secrets = data_dir.secrets()
        self._ports = data_dir.ports(options.port)
        self._watched: list[PostgresServer | ValkeyServer | GuardedProcess] = []
        # Stops everything in the reverse order of the start: the worker first, PostgreSQL last.
        self._stack = AsyncExitStack()

    async def until_stopped(self) -> None:
        """Raises DevstackError if a process does not start, or ends by itself."""
        self._listen_for_signals()
        async with self._stack:
            with suppress(_StopRequested):
                await self._start()
                while True:
                    self._raise_if_stopping()
                    self._raise_if_ended()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), _WATCH_SECONDS)
            _print("Stopping ...")

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup SIGHUP is ignored already, and stays ignored.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop.set)

    async def _start(self) -> None:
        """Starts each process as early as possible. The slowest step is importing the API."""
        _print(f"Starting the service. Data folder: {self._data_dir.folder}")
        postgres = PostgresServer(self._data_dir.postgres, port=self._ports["postgres"])
        valkey = ValkeyServer(self._data_dir.valkey, port=self._ports["valkey"])
        addresses = self._addresses(postgres, valkey)
        settings = service_settings(addresses, self._secrets)
        environment = {**inherited_environment(), **settings}
        ports = ["--port", str(self._ports["api"]), "--internal-port", str(self._ports["internal"])]
        serve = ["serve", *ports, "--dev-login"]
        api, *_ = await _gather_all(
            self._start_service("api", serve, environment),
            self._start_database(postgres if addresses.database == postgres.url() else None, environment),
            self._start_crm_and_inbox(),
            *([self._start_server(valkey)] if addresses.redis == valkey.url() else []),
        )
        if self._options.worker:
            await self._start_service("worker", ["worker"], environment)
        await self._wait_for_api(api, addresses.internal)

        self._data_dir.save_ports(self._ports)
        content = ready_content(addresses, self._secrets, settings)
        self._data_dir.write_ready(content)
        _print(_summary(addresses, content["tokens"]["admin"], self._data_dir, time.monotonic() - self._started_at))

    def _addresses(self, postgres: PostgresServer, valkey: ValkeyServer) -> Addresses:
        """The addresses of all servers. An address that the environment sets replaces our own server."""
        return Addresses(
            api=_url(self._ports["api"]),
            internal=_url(self._ports["internal"]),
            crm=_url(self._ports["crm"]),
            inbox=_url(self._ports["inbox"]),
            smtp=os.environ.get("MARKETING_SMTP_URL") or f"smtp://127.0.0.1:{self._ports['smtp']}",
            database=os.environ.get("MARKETING_DATABASE_URL") or postgres.url(),
            redis=os.environ.get("MARKETING_REDIS_URL") or valkey.url(),
        )

    async def _start_server(self, server: PostgresServer | ValkeyServer) -> None:
        self._stack.push_async_callback(asyncio.to_thread, server.stop)
        await asyncio.to_thread(server.start)
        self._watched.append(server)

    async def _start_crm_and_inbox(self) -> None:
        # Importing FastAPI takes as long as starting the servers, so it runs in a thread at the same time.
        module = await asyncio.to_thread(import_module, "marketing_service.devstack.crm_and_inbox")
        contacts = ContactBook.of_size(max(0, self._options.contacts), opt_outs_path=self._data_dir.opt_outs)
        await self._stack.enter_async_context(
            module.serving_crm_and_inbox(contacts, self._secrets.crm_token, self._ports)
        )

    async def _start_database(self, server: PostgresServer | None, environment: Mapping[str, str]) -> None:
        """Starts PostgreSQL, unless the environment names another server, and migrates the database."""
        if server is not None:
            await self._start_server(server)
        migration = await self._spawn("migrate", ["migrate"], environment, _API_GRACE_SECONDS)
        while (code := migration.poll()) is None:
            self._raise_if_stopping()
            await asyncio.sleep(_POLL_SECONDS)
        if code == os.EX_DATAERR and server is not None:
            raise DevstackError(
                f"The data in {self._data_dir.folder} was made by another version: start with --fresh to delete it."
            )
        if code != 0:
            raise DevstackError(f"The database migration failed:\n{migration.last_lines()}")

    async def _start_service(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> GuardedProcess:
        grace = _WORKER_GRACE_SECONDS if name == "worker" else _API_GRACE_SECONDS
        child = await self._spawn(name, arguments, environment, grace)
        self._watched.append(child)
        return child

    async def _spawn(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], grace: float
    ) -> GuardedProcess:
        """Runs one of our commands as a process. Its output goes to a file in the log folder."""
        self._raise_if_stopping()
        log = self._data_dir.logs / f"{name}.log"
        log.unlink(missing_ok=True)
        child = await asyncio.to_thread(
            GuardedProcess,
            f"The process `{name}`",
            # -P: a file in the working directory must not shadow a module.
            [sys.executable, "-P", "-m", "marketing_service", *arguments],
            log=log,
            env=environment,
            grace_seconds=grace,
            keep_open=[self._inherited],
        )
        self._stack.push_async_callback(asyncio.to_thread, child.stop)
        return child

    async def _wait_for_api(self, api: GuardedProcess, address: str) -> None:
        deadline = time.monotonic() + _API_READY_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                self._raise_if_stopping()
                self._raise_if_ended()
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{address}/healthz", timeout=1.0)).is_success:
                        return
                await asyncio.sleep(_POLL_SECONDS)
        raise DevstackError(f"The API was not ready after {_API_READY_SECONDS:g} s:\n{api.last_lines()}")

    def _raise_if_ended(self) -> None:
        """Raises DevstackError if a process has ended by itself."""
        for process in self._watched:
            code = process.poll()
            if code is not None:
                raise DevstackError(
                    f"{process.name} ended by itself with exit code {code}. Its last output:\n{process.last_lines()}"
                )

    def _raise_if_stopping(self) -> None:
        """Raises _StopRequested after a stop signal, or if our parent process has ended (getppid has changed)."""
        if self._stop.is_set() or (self._parent is not None and os.getppid() != self._parent):
            raise _StopRequested


def _is_detached() -> bool:
    """Whether `nohup` or `setsid` has started us, to outlive the shell."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or os.getsid(0) == os.getpid()


async def _gather_all(*starting: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results, after all have ended. A start that is cancelled halfway would leave a process that nobody stops."""
    results = await asyncio.gather(*starting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _summary(addresses: Addresses, token: str, data_dir: DataDir, seconds: float) -> str:
    campaigns = f"{addresses.api}/api/marketing/campaigns"
    return f"""
  Ready in {seconds:.1f} s.

    Console  {addresses.api}/marketing
             Log in as you@example.com with any password.
    API      {addresses.api}
    Metrics  {addresses.internal}/metrics
    Inbox    {addresses.inbox}
             Shows every email that the service sends.
    CRM      {addresses.crm}
             Shows the contacts. You can opt them out there.
    Logs     {data_dir.logs}

  Send a first campaign with the API (this administrator token is valid for one day):

    TOKEN={token}
    curl -s -H "authorization: Bearer $TOKEN" {campaigns} -H 'content-type: application/json' \\
      -d '{{"name": "Hello", "subject": "Hello {{{{firstName}}}}", "htmlBody": "<p>Hello {{{{firstName}}}}!</p>"}}'
    curl -s -H "authorization: Bearer $TOKEN" -X POST {campaigns}/<id>/launch
    curl -s -H "authorization: Bearer $TOKEN" {campaigns}/<id>/stats

  Press Ctrl-C to stop everything. The data stays in {data_dir.folder}.
"""


def _print(text: str, where: TextIO | None = None) -> None:
    """Prints a text. A reader of our output that has gone is not an error."""
    with suppress(BrokenPipeError):
        print(text, file=where or sys.stdout, flush=True)
