"""`marketing-service bounces lmtp`, as a process."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

BOUNCES = (sys.executable, "-m", "marketing_service", "bounces")


@asynccontextmanager
async def listener(
    environment: Mapping[str, str], *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Start the listener; yields the process and its port. It must log at INFO, because the port is in its log."""
    process = await asyncio.create_subprocess_exec(
        *(*BOUNCES, "lmtp", "--port", "0", *options), env=dict(environment), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        while True:
            line = await asyncio.wait_for(process.stderr.readline(), 60)
            assert line, "the listener does not start"
            entry = json.loads(line)
            if entry["event"] == "listener_started":
                break
        yield process, entry["port"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
