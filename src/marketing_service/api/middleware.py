"""What every request gets: an id, a size limit, security headers, one log line, one count, a problem if it crashes."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from marketing_service.api.body_limits import max_body
from marketing_service.api.event_stream import MEDIA_TYPE
from marketing_service.api.problems import INTERNAL, TOO_LARGE, problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from marketing_service.api.metrics import Metrics

UNKNOWN_ROUTE = "none"

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_OPERATORS = frozenset({"/healthz", "/readyz", "/metrics"})
DEFAULT_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class RequestMiddleware:
    """The outermost middleware. An unexpected exception becomes a 500 problem. If the response has already started, the
    exception goes on to the server, which closes the connection."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0
        to_start: float | None = None

        async def respond(message: Message) -> None:
            nonlocal status, to_start
            if message["type"] == "http.response.start":
                status = message["status"]
                outgoing = MutableHeaders(scope=message)
                if outgoing.get("content-type", "").startswith(MEDIA_TYPE):
                    to_start = time.perf_counter() - started
                outgoing["x-request-id"] = request_id
                for name, value in DEFAULT_HEADERS.items():
                    outgoing.setdefault(name, value)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                limit = max_body(scope["path"])
                if _announced_size(headers) > limit:
                    await problem(TOO_LARGE, _too_large(limit), scope)(scope, receive, respond)
                else:
                    await self._app(scope, _limited(receive, limit), respond)
            except Exception:
                log.exception("request_failed", route=_route(scope))
                if status:
                    raise
                detail = "This is an error of the service, not of your request. It is logged with this requestId."
                await problem(INTERNAL, detail, scope)(scope, receive, respond)
            finally:
                self._record(scope, status, time.perf_counter() - started, to_start)

    def _record(self, scope: Scope, status: int, seconds: float, to_start: float | None) -> None:
        """`to_start` is given for an event stream: how long it goes on says nothing about the service."""
        route = _route(scope)
        self._metrics.request(route, scope["method"], status, seconds if to_start is None else to_start)
        # The route template, never the path: paths contain tokens.
        fields = {"method": scope["method"], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        # Who asked, as pseudonyms. There is none before the token is verified, or without a token.
        fields |= scope["state"].get("caller_pseudonyms", {})
        campaign_id = scope.get("path_params", {}).get("id", "")
        if _UUID.fullmatch(campaign_id):
            fields["campaign_id"] = campaign_id
        (log.debug if route in _OPERATORS else log.info)("request", **fields)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The X-Request-ID of the caller if it is safe to log, else a new id. Header names are in lower case."""
    given = headers.get("x-request-id")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"


def _announced_size(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) <= len(str(10**18)) else 0


def _too_large(limit: int) -> str:
    return f"The request is larger than {limit:,} bytes. Send less data."


def _limited(receive: Receive, limit: int) -> Receive:
    """The same stream, with the size limit enforced while it is read: a chunked body has no Content-Length.
    Raises HTTPException."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(TOO_LARGE.status, _too_large(limit))
        return message

    return limited


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
