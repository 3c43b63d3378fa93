"""Problem details (RFC 9457): the table from exceptions of this service to HTTP problems."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response

from marketing_service.errors import (
    FieldError,
    Forbidden,
    InvalidInput,
    KeyReused,
    MarketingError,
    NotFound,
    PreflightFoundErrors,
    RateLimited,
    RequestInFlight,
    StaleVersion,
    Unauthenticated,
    Unavailable,
    WrongState,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem. `type` is stable; docs/problems.md describes each one."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        return f"/problems/{self.name}"


UNPARSABLE = ProblemType("unparsable", 400, "The body is not valid JSON")
UNAUTHENTICATED = ProblemType("unauthenticated", 401, "A valid access token is required")
NO_ORGANISATION = ProblemType("no-organisation", 403, "The token has no organisation")
NO_FEATURE = ProblemType("feature", 403, "The organisation does not have this feature")
NO_ROLE = ProblemType("role", 403, "The token's roles do not allow this")
NOT_FOUND = ProblemType("not-found", 404, "Not found")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "This address does not allow the method")
WRONG_STATE = ProblemType("wrong-state", 409, "The state does not allow this")
PREFLIGHT_FOUND_ERRORS = ProblemType("check-found-errors", 409, "The check of this version found errors")
REQUEST_IN_FLIGHT = ProblemType("request-in-flight", 409, "The same request is in progress")
STALE_VERSION = ProblemType("stale-version", 412, "The campaign was changed since you read it")
TOO_LARGE = ProblemType("too-large", 413, "The request is too large")
URI_TOO_LONG = ProblemType("address-too-long", 414, "The address is too long")
HEADERS_TOO_LARGE = ProblemType("headers-too-large", 431, "The headers are too large")
INVALID_INPUT = ProblemType("invalid-input", 422, "Some fields are invalid")
KEY_REUSED = ProblemType("key-reused", 422, "The Idempotency-Key was used for another request")
RATE_LIMITED = ProblemType("rate-limited", 429, "A limit is used up")
INTERNAL = ProblemType("internal", 500, "The service has an internal error")
UNAVAILABLE = ProblemType("unavailable", 503, "A required system does not answer")

PROBLEM_TYPES = (
    UNPARSABLE,
    UNAUTHENTICATED,
    NO_ORGANISATION,
    NO_FEATURE,
    NO_ROLE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    WRONG_STATE,
    PREFLIGHT_FOUND_ERRORS,
    REQUEST_IN_FLIGHT,
    STALE_VERSION,
    TOO_LARGE,
    URI_TOO_LONG,
    HEADERS_TOO_LARGE,
    INVALID_INPUT,
    KEY_REUSED,
    RATE_LIMITED,
    INTERNAL,
    UNAVAILABLE,
)

_FORBIDDEN = {kind.name: kind for kind in (NO_ORGANISATION, NO_FEATURE, NO_ROLE)}
_TYPE_OF: dict[type[MarketingError], ProblemType] = {
    Unauthenticated: UNAUTHENTICATED,
    NotFound: NOT_FOUND,
    WrongState: WRONG_STATE,
    PreflightFoundErrors: PREFLIGHT_FOUND_ERRORS,
    RequestInFlight: REQUEST_IN_FLIGHT,
    StaleVersion: STALE_VERSION,
    InvalidInput: INVALID_INPUT,
    KeyReused: KEY_REUSED,
    RateLimited: RATE_LIMITED,
    Unavailable: UNAVAILABLE,
}


def problem(
    kind: ProblemType,
    detail: str,
    scope: Scope,
    *,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem as a response. `errors` is left out if no field is wrong."""
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "requestId": scope.get("state", {}).get("request_id", ""),
    }
    if errors:
        body["errors"] = [{"field": e.field, "message": e.message, "code": e.code} for e in errors]
    # ASCII only: a field name of the caller may contain a lone surrogate, which JSON allows and UTF-8 cannot encode.
    return Response(json.dumps(body), kind.status, headers, MEDIA_TYPE)


def problem_of(error: MarketingError, scope: Scope) -> Response:
    """The problem response for this error."""
    headers: dict[str, str] = {}
    if isinstance(error, Forbidden):
        return problem(_FORBIDDEN[error.code], error.detail, scope)
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, (RateLimited, Unavailable)):
        headers["Retry-After"] = str(error.retry_after)
    errors = error.errors if isinstance(error, InvalidInput) else ()
    kind = next((_TYPE_OF[base] for base in type(error).__mro__ if base in _TYPE_OF), INTERNAL)
    return problem(kind, error.detail, scope, errors=errors, headers=headers)
