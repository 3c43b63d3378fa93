"""A CRM that sends too much, and the inputs that `bench.bounds` sends to the API."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_MEGABYTE = 1024 * 1024


def gzip_bomb(megabytes: int) -> bytes:
    """So many megabytes of spaces as gzip: a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * _MEGABYTE) for _ in range(megabytes)) + packer.flush()


async def _bomb() -> AsyncIterator[bytes]:
    body = gzip_bomb(512)
    yield b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    yield body


async def _endless() -> AsyncIterator[bytes]:
    yield b"connection: close\r\n\r\n"
    for _ in range(400):
        yield b" " * _MEGABYTE


async def _drip() -> AsyncIterator[bytes]:
    yield b"content-length: 1000000\r\n\r\n"
    for _ in range(20):
        yield b" "
        await asyncio.sleep(0.5)


async def _deep() -> AsyncIterator[bytes]:
    yield b"connection: close\r\n\r\n" + b'{"items":' + b"[" * 900_000


async def _headers() -> AsyncIterator[bytes]:
    for number in range(50_000):
        yield b"x-%d: %s\r\n" % (number, b"y" * 1000)


ANSWERS: dict[str, Callable[[], AsyncIterator[bytes]]] = {
    "gzip-bomb": _bomb,
    "endless": _endless,
    "drip": _drip,
    "deep": _deep,
    "headers": _headers,
}
"""What the CRM sends after the status line, by the name in `HostileCrm.answer`."""


class HostileCrm:
    """Answers every request as `answer` says."""

    def __init__(self) -> None:
        self.answer = "gzip-bomb"

    async def start(self, port: int) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            async for part in ANSWERS[self.answer]():
                writer.write(part)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the API has closed the connection: it has read enough
        finally:
            writer.close()
