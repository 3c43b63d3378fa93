"""Further servers that speak the protocol of Redis: with options, as a Sentinel, with TLS, to be frozen or ended."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.devstack.process import free_port
from marketing_service.devstack.valkey import server_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WITH_TLS = "redis-server"
"""Debian's server. The one of the wheel has no TLS."""


def missing_tls() -> str | None:
    """Why there is no server with TLS; None if there is one."""
    return None if shutil.which(WITH_TLS) else "there is no redis-server (on Debian: the package redis-server)"


@dataclass
class RedisServer:
    """A server on a loopback port."""

    port: int
    process: asyncio.subprocess.Process

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@asynccontextmanager
async def redis_server(
    folder: Path, *options: str, program: str | None = None, file: Path | None = None
) -> AsyncIterator[RedisServer]:
    """Run a server with these options, and with this file of the configuration, while the block runs. It stores
    nothing."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program or server_program(), *([] if file is None else [file]),
        "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", *options,
        cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _until_it_answers(process, port)
        yield RedisServer(port, process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until_it_answers(process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, "the server has ended"
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"PING\r\n")
                answer = await reader.read(7)
                writer.close()
                if answer:
                    return
            await asyncio.sleep(0.02)
