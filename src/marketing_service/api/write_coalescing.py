"""Sends a response's head and body in one write: for a small answer, a call of the kernel costs more than all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_MAX_HELD = 65_536
"""Octets beyond which nothing is held back: a download's chunks are to meet the transport's own limits."""


class GatheringProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on a transport that gathers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type] # what is used of one


class GatheringTransport:
    """A transport that sends all that is written to it in one turn of the loop at that turn's end."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._octets = 0

    def write(self, octets: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._send)
        self._held.append(octets)
        self._octets += len(octets)
        if self._octets > _MAX_HELD:
            self._send()

    def close(self) -> None:
        """What was written is sent first."""
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def _send(self) -> None:
        if self._held:
            octets = b"".join(self._held)
            self._held.clear()
            self._octets = 0
            self._transport.write(octets)
