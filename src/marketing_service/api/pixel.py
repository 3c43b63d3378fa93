"""Serves the pixel without FastAPI, because every message that is read loads one: this is the most frequent request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from marketing_service.api.client_detection import machine_reason
from marketing_service.api.damaged_links import DamagedLinks
from marketing_service.api.middleware import DEFAULT_HEADERS, request_id_of
from marketing_service.errors import Unavailable
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.types import ASGIApp, Receive, Scope, Send

    from marketing_service.api.metrics import Metrics
    from marketing_service.tokens import TokenKeyring
    from marketing_service.tracking import Opens

PIXEL_PATH = "/api/marketing/pixel/{token}.gif"
_BEFORE, _AFTER = PIXEL_PATH.split("{token}")

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""One transparent pixel."""

HEADERS = {"content-type": "image/gif", "cache-control": "no-store"}
_RAW_HEADERS = [
    (name.encode("ascii"), value.encode("ascii"))
    for name, value in {**DEFAULT_HEADERS, **HEADERS, "content-length": str(len(GIF))}.items()
]


class PixelMiddleware:
    """Responds to a GET with a valid token as soon as the open is committed.

    Every other request goes on to the application, with a damaged link repaired. The route of the pixel sends the same
    picture and counts nothing.
    """

    def __init__(self, app: ASGIApp, *, tokens: TokenKeyring, opens: Opens, metrics: Metrics, proxy_hops: int) -> None:
        self._app = app
        self._tokens = tokens
        self._damaged_links = DamagedLinks(tokens)
        self._opens = opens
        self._lost = metrics.opens_lost
        self._count = metrics.route(PIXEL_PATH, "GET", 200)
        self._proxy_hops = proxy_hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send_id = self._loaded(scope)
        if send_id is None:
            mailed = self._damaged_links.repaired(scope)
            send_id = None if mailed is scope else self._loaded(mailed)
            if send_id is None:
                await self._app(mailed, receive, send)
                return
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            await self._opens.record(send_id, machine_reason(scope, headers, proxy_hops=self._proxy_hops))
        except Unavailable:
            self._lost.inc()
        headers_out = [*_RAW_HEADERS, (b"x-request-id", request_id_of(headers).encode("ascii"))]
        await send({"type": "http.response.start", "status": 200, "headers": headers_out})
        await send({"type": "http.response.body", "body": GIF})
        self._count(time.perf_counter() - started)

    def _loaded(self, scope: Scope) -> UUID | None:
        """The send whose pixel is loaded; None for every other request."""
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith(_BEFORE) or not path.endswith(_AFTER):
            return None
        return self._tokens.read(Purpose.OPEN, path[len(_BEFORE) : -len(_AFTER)])
