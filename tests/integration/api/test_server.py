"""`marketing-service serve` as a process: its two ports."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from marketing_service.api.server import Listener, _listening
from tests.support.workers import worker_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serve(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The API; its ports work although PostgreSQL, Redis and the relay are down."""
    environment = worker_environment(
        database_url="postgresql://nobody@127.0.0.1:9/none", redis_url="redis://127.0.0.1:9/0", smtp_url="",
        log_level="INFO",
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "marketing_service", "serve", *flags,
        env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def addresses(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The two URLs, from the line that the process logs when it listens."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while True:
            entry = json.loads(await process.stderr.readline())
            if entry["event"] == "listening":
                return f"http://{entry['public'][0]}", f"http://{entry['internal'][0]}"


async def test_any_free_ports_are_logged_and_both_end_together() -> None:
    async with serve("--port", "0", "--internal-port", "0") as process, httpx.AsyncClient(timeout=60) as client:
        public, internal = await addresses(process)
        assert (await client.get(f"{internal}/healthz")).json() == {"status": "ok"}
        assert "marketing_ledger_up 0.0" in (await client.get(f"{internal}/metrics")).text
        assert (await client.get(f"{public}/healthz")).status_code == 404
        assert (await client.get(f"{public}/api/marketing/stats")).status_code == 401
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0


@pytest.mark.parametrize("option", ["--port", "--internal-port"])
async def test_a_port_in_use_is_one_clear_line(option: str) -> None:
    other = {"--port": "--internal-port", "--internal-port": "--port"}[option]
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = str(used.getsockname()[1])
        async with serve(option, port, other, "0") as process:
            _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert errors.decode().splitlines() == [
        f"marketing-service: the API cannot listen at 127.0.0.1 port {port} ({option}): Address already in use"
    ]


async def test_an_unknown_host_is_one_clear_line() -> None:
    async with serve("--host", "no.such.host.invalid") as process:
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    (line,) = errors.decode().splitlines()
    assert process.returncode == 2
    assert line.startswith("marketing-service: the API cannot listen at no.such.host.invalid port 8000 (--port): ")


def test_the_host_of_every_address_has_a_socket_for_each_family() -> None:
    """With one socket for both, all IPv4 clients would have the same IPv6 network, and share its limit."""
    with _listening(Listener("::", 0), "--port") as sockets:
        assert {listening.family for listening in sockets} == {socket.AF_INET, socket.AF_INET6}
        assert len({listening.getsockname()[1] for listening in sockets}) == 1
