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
    """The listener, once it listens, and its port. It is to log at INFO, for that is how it says so."""
    process = await asyncio.create_subprocess_exec(
        *(*BOUNCES, "lmtp", "--port", "0", *options), env=dict(environment), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        while True:
            line = await asyncio.wait_for(process.stderr.readline(), 60)
            assert line, "the door does not open"
            said = json.loads(line)
            if said["event"] == "listener_started":
                break
        yield process, said["port"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
