"""What the OpenAPI document says of answers that are not a route's own: problems, headers, other media types."""

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
    422: "InvalidInput",
    500: "Internal",
    503: "Unavailable",
}
_EVERYWHERE = frozenset({401, 403, 422, 500, 503})
_ETAG = {"description": "The version, quoted.", "schema": {"type": "string", "examples": ['"3"']}}
_RETRY_AFTER = {"description": "When to try again, in seconds.", "schema": {"type": "integer"}}


def responses(*statuses: int) -> Responses:
    """The problems a JSON route may answer with: these, and those that any may."""
    return problem_responses(*_EVERYWHERE, *statuses)


def problem_responses(*statuses: int) -> Responses:
    """The problems with exactly these statuses."""
    # FastAPI wants a description beside the reference; `openapi` takes it out again.
    return {status: {"$ref": _REF + _NAMES[status], "description": ""} for status in sorted(set(statuses))}


def problem_components() -> dict[str, dict[str, Any]]:
    """Every answer that is a problem, described once, by the name that routes refer to."""
    return {name: _problem(status) for status, name in _NAMES.items()}


def with_etag(description: str, **headers: str) -> dict[str, Any]:
    """An answer that carries a campaign's version, and these headers (name → description)."""
    others = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {"description": description, "headers": {"ETag": _ETAG} | others}


def content(description: str, media_type: str, schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An answer of another media type than JSON."""
    return {"description": description, "content": {media_type: {"schema": schema or {"type": "string"}}}}


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in PROBLEM_TYPES if kind.status == status]
    answer: dict[str, Any] = {
        "description": "; or ".join(kind.title for kind in kinds) + ".",
        "content": {
            problems.MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.name: {"value": _example(kind)} for kind in kinds},
            }
        },
    }
    if status == problems.UNAUTHENTICATED.status:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string", "examples": ["Bearer"]}}}
    if status == problems.UNAVAILABLE.status:
        answer["headers"] = {"Retry-After": _RETRY_AFTER}
    return answer


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
    "unparsable": "The body is not JSON: Expecting value.",
    "unauthenticated": "The access token has expired.",
    "no-organisation": "The access token names no organisation.",
    "feature": "Your organisation does not have the feature marketing.",
    "role": "Changing anything needs one of these roles: ADMIN, SUPER_ADMIN, MANAGER.",
    "not-found": "There is no such campaign.",
    "method-not-allowed": "PUT is not possible here; possible: DELETE, GET, PATCH.",
    "wrong-state": "This campaign is SENT: only a DRAFT can be edited or launched.",
    "check-found-errors": "The check of this version found 1 error: read them under /check, then mend the campaign, or"
    ' launch it with {"force": true}.',
    "request-in-flight": "A request with this Idempotency-Key is being worked on; repeat it in a moment.",
    "stale-version": "This campaign is at version 4 now: somebody changed it. Read it again, then repeat.",
    "too-large": "The request is larger than 3,000,000 bytes.",
    "invalid-input": "name: is required.",
    "key-reused": "This Idempotency-Key was used for another request; choose a new one for each.",
    "internal": "This was not your fault; it has been logged under this requestId.",
    "unavailable": "PostgreSQL does not answer; try again in a few seconds.",
}
