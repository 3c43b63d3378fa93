"""Wait until a server that was started as a process accepts connections."""

from __future__ import annotations

import asyncio


async def until_it_accepts(process: asyncio.subprocess.Process, port: int, *, name: str) -> None:
    """Return when the port of this machine accepts a connection. Fails if the process ends, and after 30 seconds."""
    async with asyncio.timeout(30):
        while True:
            assert process.returncode is None, f"{name} does not start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
