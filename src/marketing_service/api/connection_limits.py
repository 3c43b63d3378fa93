"""The limits of one connection: size and time of a request's head, time of its body, number of connections.

The HTTP parser of uvicorn has no such limits. They are in the protocol, because a request that exceeds them must not
reach the application.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from marketing_service.api.body_limits import MAX_BODY, max_body
from marketing_service.api.problems import (
    HEADERS_TOO_LARGE,
    MEDIA_TYPE,
    TOO_LARGE,
    UNAVAILABLE,
    URI_TOO_LONG,
    ProblemType,
)
from marketing_service.api.write_coalescing import CoalescingProtocol

if TYPE_CHECKING:
    import asyncio

MAX_URL = 8_000
"""Octets. RFC 9110 §4.1 recommends to support 8,000."""
MAX_HEADERS = 100
MAX_HEAD = 32_768
"""Octets of the names and values of all headers. A token has at most 8,192 (see auth/verify.py)."""
MAX_BESIDE_BODY = 5_000_000
"""Octets of a whole request as sent, beside those of the largest body: its head, the sizes of its chunks, its
trailers."""
MAX_MESSAGE = MAX_BODY + MAX_BESIDE_BODY
"""Octets of a whole request as sent, if its path has no larger limit for the body."""
HEAD_SECONDS = 10.0
"""Time for the head of a request, from the first octet or from the start of the connection."""
BODY_SECONDS = 60.0
"""Time for the body, from the end of the head. A path with a larger limit for the body gets more, in proportion."""
MAX_CONNECTIONS = 2_000
"""Open connections of a process. Over it, the oldest one without a request is closed; if there is none, the new one.
Event streams (MAX_STREAMS) leave half of them for requests."""
READ_SECONDS = 60.0
"""A client that takes nothing of a response for so long is disconnected."""


class LimitedProtocol(CoalescingProtocol):
    """A connection with limits. A request that exceeds one gets a problem, and the connection is closed."""

    head_seconds: ClassVar[float] = HEAD_SECONDS
    body_seconds: ClassVar[float] = BODY_SECONDS
    max_connections: ClassVar[int] = MAX_CONNECTIONS
    read_seconds: ClassVar[float] = READ_SECONDS

    _timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _is_refused = False
    _in_head = False
    _octets = 0
    _max_message = MAX_MESSAGE
    _head_octets = 0
    since = 0.0
    """When the connection was made, by the clock of the event loop."""

    # ── connection ──

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.since = self.loop.time()
        self._set_timer(self.head_seconds)
        if len(self.connections) > self.max_connections:
            idle = [other for other in self.connections if isinstance(other, LimitedProtocol) and other.is_idle]
            oldest = min((other for other in idle if other is not self), key=lambda other: other.since, default=None)
            if oldest is None:
                self._refuse(UNAVAILABLE, "The service has too many open connections. Try again in a few seconds.")
            else:
                oldest.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._cancel_reading_timer()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress: none has arrived completely and waits for its response."""
        return self.cycle is None or self.cycle.response_complete

    def close(self) -> None:
        """Close the connection. What is in progress is lost."""
        self._is_refused = True
        self._cancel_timer()
        if not self.transport.is_closing():
            self.transport.close()

    # ── data ──

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._timer is None and self.is_idle:
            self._set_timer(self.head_seconds)
        super().data_received(data)
        self._octets += len(data)
        self._check_size()

    def _check_size(self) -> None:
        if self._is_refused:
            return
        if self._in_head and self._octets > MAX_HEAD + MAX_URL:
            self._refuse_head()
        elif self._octets > self._max_message:
            self._refuse(TOO_LARGE, f"The request is larger than {self._max_message:,} octets. Send less data.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._octets = self._head_octets = 0
        self._max_message = MAX_MESSAGE
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL and not self._is_refused:
            self._refuse(URI_TOO_LONG, f"The address is longer than {MAX_URL:,} octets. Send less in the query.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called for a header, and for a trailer after the body."""
        self._head_octets += len(name) + len(value)
        if self._head_octets > MAX_HEAD or len(self.headers) >= MAX_HEADERS:
            self._refuse_head()
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if not self._is_refused:
            limit = max_body(self.url.partition(b"?")[0].decode("ascii", "replace"))
            self._max_message = limit + MAX_BESIDE_BODY
            self._set_timer(self.body_seconds * limit / MAX_BODY)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._cancel_timer()
        if not self._is_refused:
            super().on_message_complete()

    # ── refusal ──

    def _refuse_head(self) -> None:
        detail = f"The request has more than {MAX_HEADERS} headers or more than {MAX_HEAD:,} octets of headers."
        self._refuse(HEADERS_TOO_LARGE, detail)

    def _refuse(self, kind: ProblemType, detail: str) -> None:
        """Send the problem, unless a response is under way, and close the connection."""
        if self._is_refused:
            return
        self._is_refused = True
        if self.is_idle:
            document = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail}
            body = json.dumps(document | {"requestId": ""}).encode("ascii")
            head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
            retry = "retry-after: 5\r\n" if kind is UNAVAILABLE else ""
            self.transport.write(STATUS_LINE[kind.status] + f"{head}{retry}\r\n".encode("ascii") + body)
        self.close()

    # ── time ──

    def _set_timer(self, seconds: float) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(seconds, self.close)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Called when the client reads more slowly than the response is written."""
        super().pause_writing()
        self._check_reading_later()

    def resume_writing(self) -> None:
        self._cancel_reading_timer()
        super().resume_writing()

    def _check_reading_later(self) -> None:
        self._reading_timer = self.loop.call_later(self.read_seconds, self._check_reading, self._unsent())

    def _check_reading(self, unsent_before: int) -> None:
        if self._unsent() < unsent_before:
            self._check_reading_later()
        else:
            # A close would wait until the client has read what is unsent.
            self.transport.abort()

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _cancel_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None
