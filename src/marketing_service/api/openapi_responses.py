"""The parts of OpenAPI responses that several routes share: problems, headers, media types other than JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from marketing_service.api import problems
from marketing_service.api.problems import PROBLEM_TYPES, ProblemType

if TYPE_CHECKING:
    from collections.abc import Mapping

Responses: TypeAlias = dict[int | str, dict[str, Any]]

_REF = "#/components/responses/"
_NAMES = {
    400: "Unparsable",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    412: "StaleVersion",
    413: "TooLarge",
    414: "AddressTooLong",
    422: "InvalidInput",
    429: "RateLimited",
    500: "Internal",
    503: "Unavailable",
}
_EVERYWHERE = frozenset({401, 403, 422, 429, 500, 503})
_ETAG = {"description": "The version of the campaign, in quotes.", "schema": {"type": "string", "examples": ['"3"']}}
_RETRY_AFTER = {"description": "The number of seconds to wait before you try again.", "schema": {"type": "integer"}}

_LIMITS = {
    "RateLimit-Policy": {
        "description": "The limits that count this request: `q` per `w` seconds (draft-ietf-httpapi-ratelimit-headers)."
        " Every response to a request that is counted has it.",
        "schema": {"type": "string", "examples": ['"token-minute";q=600;w=60']},
    },
    "RateLimit": {
        "description": "What is left of them: `r`, and `t` seconds until it is more. Every response to a request that"
        " is counted has it.",
        "schema": {"type": "string", "examples": ['"token-minute";r=0;t=7']},
    },
}


def responses(*statuses: int) -> Responses:
    """The problem responses of a JSON route: these, and those that every route has."""
    return problem_responses(*_EVERYWHERE, *statuses)


def problem_responses(*statuses: int) -> Responses:
    """The problem responses with exactly these statuses."""
    # FastAPI requires a description beside the reference. openapi_document removes it.
    return {status: {"$ref": _REF + _NAMES[status], "description": ""} for status in sorted(set(statuses))}


def problem_components() -> dict[str, dict[str, Any]]:
    """Every problem response, by the name that the routes refer to."""
    return {name: _problem(status) for status, name in _NAMES.items()}


def with_etag(description: str, **headers: str) -> dict[str, Any]:
    """A response with the version of the campaign as ETag, and with these headers (name → description)."""
    others = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {"description": description, "headers": {"ETag": _ETAG} | others}


def content(description: str, media_type: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A response with another media type than JSON."""
    return {"description": description, "content": {media_type: {"schema": schema or {"type": "string"}}}}


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in PROBLEM_TYPES if kind.status == status]
    response: dict[str, Any] = {
        "description": ". Or: ".join(kind.title for kind in kinds) + ".",
        "content": {
            problems.MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.name: {"value": _example(kind)} for kind in kinds},
            }
        },
    }
    if status == problems.UNAUTHENTICATED.status:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string", "examples": ["Bearer"]}}}
    if status in (problems.UNAVAILABLE.status, problems.RATE_LIMITED.status):
        response["headers"] = {"Retry-After": _RETRY_AFTER}
    if status == problems.RATE_LIMITED.status:
        response["headers"] |= _LIMITS
    return response


def _example(kind: ProblemType) -> dict[str, Any]:
    example: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": _DETAILS[kind.name],
        "requestId": "0197c1b2a3d4",
    }
    if kind is problems.INVALID_INPUT:
        example["errors"] = [{"field": "name", "message": "is required.", "code": "required"}]
    return example


_DETAILS = {
    "unparsable": "The body is not valid JSON: Expecting value.",
    "unauthenticated": "The token has expired. Log in again.",
    "no-organisation": "The token has no organisation: its claim orgId must be a string of 1 to 64 characters.",
    "feature": "Your organisation does not have the feature marketing. Ask for it to be added.",
    "role": "To change data you need one of these roles: ADMIN, SUPER_ADMIN, MANAGER.",
    "not-found": "There is no such campaign.",
    "method-not-allowed": "PUT is not allowed at this address. Use one of: DELETE, GET, PATCH.",
    "wrong-state": "This campaign is SENT. Only a DRAFT can be edited, scheduled or launched.",
    "check-found-errors": "The check of this version found 1 error. Read the report under /check, then correct the"
    ' campaign, or launch it with {"force": true}.',
    "request-in-flight": "A request with this Idempotency-Key is being worked on; repeat it in a moment.",
    "stale-version": "The campaign was changed: its version is now 4. Read it again, then repeat your change.",
    "too-large": "The request is larger than 3,000,000 bytes. Send less data.",
    "address-too-long": "The address is longer than 8,000 octets. Send less in the query.",
    "invalid-input": "name: is required.",
    "key-reused": "This Idempotency-Key was used for another request; choose a new one for each.",
    "rate-limited": "Too many requests of this user: 600 per minute are allowed. Try again in 7 s.",
    "internal": "This is an error of the service, not of your request. It is logged with this requestId.",
    "unavailable": "PostgreSQL does not answer; try again in a few seconds.",
}
