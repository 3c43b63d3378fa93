"""Exception handlers: every exception of the framework or of this service becomes a problem."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from marketing_service.api.idempotency import AlreadyAnswered
from marketing_service.api.problems import (
    INVALID_INPUT,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNPARSABLE,
    problem,
    problem_of,
)
from marketing_service.api.requests import AUDIENCE_TYPES
from marketing_service.api.responses import READ_ONLY
from marketing_service.errors import FieldError, InvalidInput, MarketingError, Unavailable
from marketing_service.logs import LogThrottle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fastapi import FastAPI, Request
    from fastapi.responses import Response
    from starlette.routing import BaseRoute

log = structlog.get_logger(__name__)

_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown",
    "string_too_long": "too-long",
    "too_long": "too-long",
    "string_too_short": "too-short",
    "too_short": "too-short",
    "enum": "not-one-of",
    "literal_error": "not-one-of",
    "union_tag_invalid": "not-one-of",
    "union_tag_not_found": "required",
    "greater_than_equal": "out-of-range",
    "less_than_equal": "out-of-range",
    "timezone_aware": "type",
}


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Register the handlers. `routes` are all routes of the application, to tell 405 from 404."""

    async def validation(request: Request, error: Exception) -> Response:
        found = cast("RequestValidationError", error).errors()
        if any(item["type"] == "json_invalid" for item in found):
            return problem(UNPARSABLE, f"The body is not valid JSON: {found[0]['ctx']['error']}.", request.scope)
        if any(item["loc"] == ("body",) for item in found) and not _says_json(request):
            detail = "The body was not read. Send JSON with the header Content-Type: application/json."
            return problem(UNPARSABLE, detail, request.scope)
        invalid = InvalidInput(*(_field_error(item) for item in found))
        return problem(INVALID_INPUT, invalid.detail, request.scope, errors=invalid.errors)

    async def of_framework(request: Request, raised: Exception) -> Response:
        error = cast("HTTPException", raised)
        if error.status_code == METHOD_NOT_ALLOWED.status:
            allowed = sorted(_methods(request, routes))
            detail = f"{request.method} is not allowed at this address. Use one of: {', '.join(allowed)}."
            return problem(METHOD_NOT_ALLOWED, detail, request.scope, headers={"Allow": ", ".join(allowed)})
        if error.status_code == NOT_FOUND.status:
            return problem(NOT_FOUND, "There is nothing at this address. Check the path.", request.scope)
        if error.status_code == TOO_LARGE.status:
            return problem(TOO_LARGE, error.detail, request.scope)
        return problem(UNPARSABLE, "The body could not be read as JSON. Send valid JSON in UTF-8.", request.scope)

    async def stored(_: Request, error: Exception) -> Response:
        return cast("AlreadyAnswered", error).response

    app.add_exception_handler(AlreadyAnswered, stored)
    app.add_exception_handler(MarketingError, _of_this_service())
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, of_framework)


def _of_this_service() -> Callable[[Request, Exception], Awaitable[Response]]:
    throttle = LogThrottle()

    async def of_this_service(request: Request, error: Exception) -> Response:
        if isinstance(error, Unavailable) and throttle.allows((error.part, error.cause), time.monotonic()):
            log.warning("unavailable", part=error.part, reason=error.detail, cause=error.cause)
        return problem_of(cast("MarketingError", error), request.scope)

    return of_this_service


def _methods(request: Request, routes: Sequence[BaseRoute]) -> set[str]:
    """Every method allowed at this path. One route knows only its own methods."""
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    # A path of its own goes before one with an id: `imports` is no id of a suppression.
    exact = [route for route in matching if getattr(route, "path", None) == request.url.path]
    return {method for route in exact or matching for method in getattr(route, "methods", ())}


def _says_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _field_error(item: dict[str, Any]) -> FieldError:
    kind = item["type"]
    field = field_path(item["loc"])
    if kind == "extra_forbidden" and field in READ_ONLY:
        return FieldError(field, "is read-only. Remove it.", "read-only")
    message = {
        "missing": "is required.",
        "extra_forbidden": "is not a field or parameter of this request. Remove it.",
    }.get(kind, item["msg"])
    return FieldError(field, message, _code(kind))


def _code(kind: str) -> str:
    if kind.endswith(("_type", "_parsing", "_parsing_size")):
        return "type"
    return _CODES.get(kind, kind.replace("_", "-"))


def field_path(loc: Sequence[str | int]) -> str:
    """`("body", "audience", "BY_STATUS", "statuses", 0)` → `audience.statuses[0]`; the body itself is `body`."""
    parts = [part for part in loc[1:] if part not in AUDIENCE_TYPES]
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path or str(loc[0])
