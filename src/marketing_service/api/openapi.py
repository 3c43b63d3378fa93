"""The contract as an OpenAPI 3.1 document, made from the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from marketing_service.api.app import routed_app
from marketing_service.api.openapi_responses import problem_components
from marketing_service.api.responses import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION = """\
Write a campaign, pick an audience out of the CRM, launch it, and watch truthful figures while it is sent.

JSON in camelCase; unknown and read-only fields are refused. Times are ISO 8601 in UTC. Errors are
`application/problem+json` (RFC 9457) with a stable `type`. Lists are paged: hand `nextCursor` back as `cursor`.
Every answer carries `X-Request-ID`; send your own to find a request again in the logs."""

_TAGS = [
    {"name": "campaigns", "description": "One message plus an audience, sent once."},
    {"name": "life", "description": "DRAFT → SENDING → SENT, or FAILED when the launch itself failed."},
    {"name": "stats", "description": "What the portal's cards show."},
    {"name": "email log", "description": "One row per contact of a campaign."},
    {"name": "suppressions", "description": "Addresses that are not to be mailed, whatever the CRM says."},
    {"name": "bounces", "description": "For a mail system, with a token of a role of its own."},
    {"name": "public", "description": "For recipients: no access token."},
    {"name": "operators", "description": "Not meant to be reachable from outside."},
]
# What YAML 1.2 (and 1.1) reads back as exactly this string without quotes.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+-]*")
_NOT_STRINGS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def openapi_document() -> dict[str, Any]:
    """The document, ready to be written; needs no servers."""
    app = routed_app(None)
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
    )
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        for response in operation["responses"].values():
            if "$ref" in response:
                del response["description"]
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["responses"] = problem_components()
    return document


def openapi_yaml() -> str:
    """The document as YAML, the same to the byte for the same code."""
    return (
        "# Made from the code; change the code, then run `make openapi`.\n"
        + "\n".join(_lines(openapi_document(), 0))
        + "\n"
    )


def _lines(value: dict[str, Any], depth: int) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{'  ' * depth}{_scalar(key)}:", item, depth + 1)


def _entry(head: str, item: Any, depth: int) -> Iterator[str]:
    """The lines of one key or list place, of which `head` is how the first begins."""
    if isinstance(item, dict) and item:
        yield head
        yield from _lines(item, depth)
    elif isinstance(item, list) and item:
        yield head
        for element in item:
            yield from _place(element, depth)
    else:
        yield f"{head} {_scalar(item)}"


def _place(element: Any, depth: int) -> Iterator[str]:
    """The lines of one place of a list; an object's first key stands beside the dash."""
    dash = f"{'  ' * depth}-"
    if isinstance(element, dict) and element:
        first, *others = _lines(element, depth + 1)
        yield f"{dash} {first.lstrip()}"
        yield from others
    else:
        yield from _entry(dash, element, depth + 1)


def _scalar(value: Any) -> str:
    """A string that needs no quotes as it is; everything else as JSON, which YAML contains."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_STRINGS:
        return value
    return json.dumps(value, ensure_ascii=False)
