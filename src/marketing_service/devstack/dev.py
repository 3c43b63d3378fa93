"""`marketing-service dev`: the whole service on one machine, with everything it needs around it."""

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
from marketing_service.devstack.environment import Addresses, inherited_environment, ready_facts, service_settings
from marketing_service.devstack.home import Home
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
# Together they stay below the ten seconds in which everything has to be gone.
_WORKER_GRACE_SECONDS = 5.0
_API_GRACE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `marketing-service dev` was told. `port` 0 is any; `contacts` below 0 are none."""

    port: int
    data_dir: Path
    contacts: int = 1000
    worker: bool = True
    fresh: bool = False


def run_dev(options: DevOptions) -> int:
    """Run everything until told to stop; returns the process's exit code: 0, or 1 after a failure."""
    try:
        home = Home(options.data_dir)
        with home.held() as inherited:
            if options.fresh:
                home.forget()
            uvloop.run(_Run(options, home, inherited).until_stopped())
    except (DevstackError, OSError) as error:
        _say(f"marketing-service dev: {error}", sys.stderr)
        return 1
    return 0


class _StopAsked(Exception):
    """Somebody wants us to stop before everything has started."""


class _Run:
    """One run, from the first part started to the last one gone."""

    def __init__(self, options: DevOptions, home: Home, inherited: int) -> None:
        self._options = options
        self._home = home
        self._inherited = inherited
        self._began = time.monotonic()
        self._parent = os.getppid()
        self._stop = asyncio.Event()
        self._secrets = home.secrets()
        self._ports = home.ports(options.port)
        self._watched: list[PostgresServer | ValkeyServer | GuardedProcess] = []
        # Whatever is put here is stopped in the reverse order: the worker first, PostgreSQL last.
        self._stack = AsyncExitStack()

    async def until_stopped(self) -> None:
        """Raises DevstackError when a part does not start, or ends by itself."""
        self._listen_for_signals()
        async with self._stack:
            with suppress(_StopAsked):
                await self._start()
                while True:
                    self._go_on()
                    self._check()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), _WATCH_SECONDS)
            _say("Stopping …")

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP for us.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop.set)

    async def _start(self) -> None:
        """Start every part as early as it can be: what takes longest is the interpreter loading the API."""
        _say(f"Starting everything in {self._home.folder} …")
        postgres = PostgresServer(self._home.postgres, port=self._ports["postgres"])
        valkey = ValkeyServer(self._home.valkey, port=self._ports["valkey"])
        addresses = self._addresses(postgres, valkey)
        settings = service_settings(addresses, self._secrets)
        environment = {**inherited_environment(), **settings}
        serve = ["serve", "--port", str(self._ports["api"]), "--dev-login"]
        api, *_ = await _all(
            self._start_child("api", serve, environment),
            self._start_database(postgres if addresses.database == postgres.url() else None, environment),
            self._start_stand_ins(),
            *([self._start_server(valkey)] if addresses.redis == valkey.url() else []),
        )
        if self._options.worker:
            await self._start_child("worker", ["worker"], environment)
        await self._api_is_ready(api, addresses.api)

        self._home.keep_ports(self._ports)
        facts = ready_facts(addresses, self._secrets, settings)
        self._home.write_ready(facts)
        _say(_summary(addresses, facts["tokens"]["admin"], self._home, time.monotonic() - self._began))

    def _addresses(self, postgres: PostgresServer, valkey: ValkeyServer) -> Addresses:
        """Where everything will be; what the environment names is used instead of ours."""
        return Addresses(
            api=_http(self._ports["api"]),
            crm=_http(self._ports["crm"]),
            inbox=_http(self._ports["inbox"]),
            smtp=os.environ.get("MARKETING_SMTP_URL") or f"smtp://127.0.0.1:{self._ports['smtp']}",
            database=os.environ.get("MARKETING_DATABASE_URL") or postgres.url(),
            redis=os.environ.get("MARKETING_REDIS_URL") or valkey.url(),
        )

    async def _start_server(self, server: PostgresServer | ValkeyServer) -> None:
        self._stack.push_async_callback(asyncio.to_thread, server.stop)
        await asyncio.to_thread(server.start)
        self._watched.append(server)

    async def _start_stand_ins(self) -> None:
        # Loading FastAPI takes as long as starting the servers does, so it goes on beside that.
        stand_ins = await asyncio.to_thread(import_module, "marketing_service.devstack.stand_ins")
        contacts = ContactBook.of_size(max(0, self._options.contacts), kept=self._home.opt_outs)
        await self._stack.enter_async_context(
            stand_ins.serving_stand_ins(contacts, self._secrets.crm_token, self._ports)
        )

    async def _start_database(self, server: PostgresServer | None, environment: Mapping[str, str]) -> None:
        """Start the server, if it is ours, and bring the database to the newest schema."""
        if server is not None:
            await self._start_server(server)
        migration = await self._spawn("migrate", ["migrate"], environment, _API_GRACE_SECONDS)
        while (code := migration.poll()) is None:
            self._go_on()
            await asyncio.sleep(_POLL_SECONDS)
        if code == os.EX_DATAERR and server is not None:
            raise DevstackError(
                f"The data in {self._home.folder} was made by another version: start with --fresh to delete it."
            )
        if code != 0:
            raise DevstackError(f"The database could not be migrated:\n{migration.last_lines()}")

    async def _start_child(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> GuardedProcess:
        grace = _WORKER_GRACE_SECONDS if name == "worker" else _API_GRACE_SECONDS
        child = await self._spawn(name, arguments, environment, grace)
        self._watched.append(child)
        return child

    async def _spawn(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], grace: float
    ) -> GuardedProcess:
        """Run one command of ours as a process, its output in the logs."""
        self._go_on()
        log = self._home.logs / f"{name}.log"
        log.unlink(missing_ok=True)
        child = await asyncio.to_thread(
            GuardedProcess,
            f"The process `{name}`",
            # -P: a file in the working folder must not stand in for a module.
            [sys.executable, "-P", "-m", "marketing_service", *arguments],
            log=log,
            env=environment,
            grace_seconds=grace,
            keep_open=[self._inherited],
        )
        self._stack.push_async_callback(asyncio.to_thread, child.stop)
        return child

    async def _api_is_ready(self, api: GuardedProcess, address: str) -> None:
        deadline = time.monotonic() + _API_READY_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                self._go_on()
                self._check()
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{address}/healthz", timeout=1.0)).is_success:
                        return
                await asyncio.sleep(_POLL_SECONDS)
        raise DevstackError(f"The API was not ready after {_API_READY_SECONDS:g} s:\n{api.last_lines()}")

    def _check(self) -> None:
        """Raises DevstackError when a part has ended by itself."""
        for part in self._watched:
            code = part.poll()
            if code is not None:
                raise DevstackError(f"{part.name} ended by itself, with {code}. Its last lines:\n{part.last_lines()}")

    def _go_on(self) -> None:
        """Raises _StopAsked when we were told to stop, or have another parent because ours is gone."""
        if self._stop.is_set() or os.getppid() != self._parent:
            raise _StopAsked


async def _all(*starting: Coroutine[Any, Any, Any]) -> list[Any]:
    """Their results, once each has ended: a part whose start was cut short could not be stopped."""
    results = await asyncio.gather(*starting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _http(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _summary(addresses: Addresses, token: str, home: Home, seconds: float) -> str:
    campaigns = f"{addresses.api}/api/marketing/campaigns"
    return f"""
  Up after {seconds:.1f} s.

    Console {addresses.api}/marketing  log in as you@example.com, with any password
    API     {addresses.api}
    Inbox   {addresses.inbox}  every mail that is sent
    CRM     {addresses.crm}  the contacts; an opt-out can be ticked there
    Logs    {home.logs}

  An administrator's token, good for a day, and a first campaign:

    TOKEN={token}
    curl -s -H "authorization: Bearer $TOKEN" {campaigns} -H 'content-type: application/json' \\
      -d '{{"name": "Hello", "subject": "Hello {{{{firstName}}}}", "htmlBody": "<p>Hello {{{{firstName}}}}!</p>"}}'
    curl -s -H "authorization: Bearer $TOKEN" -X POST {campaigns}/<id>/launch
    curl -s -H "authorization: Bearer $TOKEN" {campaigns}/<id>/stats

  Ctrl-C stops everything.
"""


def _say(text: str, where: TextIO | None = None) -> None:
    """Print, though whoever read our output may have gone."""
    with suppress(BrokenPipeError):
        print(text, file=where or sys.stdout, flush=True)
