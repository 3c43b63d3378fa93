"""A mail server's side of a conversation over LMTP or SMTP, one line at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class MailServer:
    """Says what it is told to, and returns what is answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply; of several lines the last. Empty once the other side has hung up."""
        while True:
            line = (await self._reader.readline()).decode()
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    async def says(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply()

    async def greets(self, verb: str = "LHLO") -> str:
        await self.reply()
        return await self.says(f"{verb} mx.example")

    async def addresses(self, *recipients: str) -> list[str]:
        """The answers to a report's envelope, one for each recipient."""
        assert (await self.says("MAIL FROM:<>")).startswith("250")
        return [await self.says(f"RCPT TO:<{recipient}>") for recipient in recipients]

    async def sends(self, raw: bytes, answers: int = 1) -> list[str]:
        """The answers after the final dot."""
        assert (await self.says("DATA")).startswith("354")
        self.writer.write(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        return [await self.reply() for _ in range(answers)]


@asynccontextmanager
async def calling(port: int, verb: str | None = "LHLO") -> AsyncIterator[MailServer]:
    """A connection to the port, greeted already unless `verb` is None."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    server = MailServer(reader, writer)
    try:
        if verb is not None:
            await server.greets(verb)
        yield server
    finally:
        writer.close()
