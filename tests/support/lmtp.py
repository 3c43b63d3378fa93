"""The client's side of an LMTP or SMTP conversation: a mail server that submits a report."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class MailServer:
    """Sends commands and returns the replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def reply(self) -> str:
        """The next reply; the last line of a reply with several lines. Empty after the other side has closed."""
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
        """Send the envelope of a report; returns one reply for each recipient."""
        assert (await self.says("MAIL FROM:<>")).startswith("250")
        return [await self.says(f"RCPT TO:<{recipient}>") for recipient in recipients]

    async def sends(self, raw: bytes, replies: int = 1) -> list[str]:
        """Send a message; returns the replies after the final dot."""
        assert (await self.says("DATA")).startswith("354")
        self.writer.write(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        return [await self.reply() for _ in range(replies)]


@asynccontextmanager
async def calling(port: int, verb: str | None = "LHLO") -> AsyncIterator[MailServer]:
    """A connection to the port. The greeting is done already unless `verb` is None."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    server = MailServer(reader, writer)
    try:
        if verb is not None:
            await server.greets(verb)
        yield server
    finally:
        writer.close()
