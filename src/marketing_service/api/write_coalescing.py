"""Sends the head and the body of a response in one write. For a small response, the system call is the largest cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

_MAX_BUFFERED = 65_536
"""Octets in the buffer that are sent at once, so that the flow control of the transport sees the chunks of a
download."""


class CoalescingProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on a CoalescingTransport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(CoalescingTransport(transport, self.loop))  # type: ignore[arg-type] # uvicorn uses only these methods


class CoalescingTransport:
    """A transport that joins all writes of one iteration of the event loop into one write."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._buffer: list[bytes] = []
        self._octets = 0

    def write(self, octets: bytes) -> None:
        if not self._buffer:
            self._loop.call_soon(self._send)
        self._buffer.append(octets)
        self._octets += len(octets)
        if self._octets > _MAX_BUFFERED:
            self._send()

    def close(self) -> None:
        """Sends the buffer, then closes."""
        self._send()
        self._transport.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def _send(self) -> None:
        if self._buffer:
            octets = b"".join(self._buffer)
            self._buffer.clear()
            self._octets = 0
            self._transport.write(octets)
