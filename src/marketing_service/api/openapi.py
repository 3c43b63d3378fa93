"""The contract as an OpenAPI 3.1 document, generated from the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from marketing_service.api.app import routed_app
from marketing_service.api.openapi_responses import problem_components
from marketing_service.api.responses import Problem
from marketing_service.api.responses_progress import DoneResponse, ProgressResponse
from marketing_service.api.routes import health

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION = """\
Write a campaign, choose an audience from the CRM, launch it, and read its stats while it is sent.

JSON field names are in camelCase. Unknown and read-only fields are refused. Times are ISO 8601 in UTC. Errors are
`application/problem+json` (RFC 9457) with a stable `type`. Lists have pages: send `nextCursor` back as `cursor`.
Every response has the header `X-Request-ID`. Send your own id to find the request in the logs."""

_TAGS = [
    {"name": "campaigns", "description": "A campaign is one message for one audience. It is sent once."},
    {"name": "lifecycle", "description": "DRAFT → SENDING → SENT, or FAILED if the launch itself failed."},
    {"name": "stats", "description": "Numbers about campaigns and audiences."},
    {"name": "email log", "description": "One entry for each contact of a campaign."},
    {"name": "suppressions", "description": "Addresses that are never mailed, even if the CRM allows it."},
    {"name": "audit", "description": "Who did what, and when."},
    {"name": "bounces", "description": "For mail systems. The token needs a separate role."},
    {"name": "public", "description": "For recipients. No access token is needed."},
    {
        "name": "operators",
        "description": "For the operators, on a port of their own (`serve --internal-port`), without limits.",
    },
]
# Strings that YAML 1.2 and 1.1 parse as the same string without quotes.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.+-]*")
_NOT_STRINGS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def openapi_document() -> dict[str, Any]:
    """The document as plain data. Needs no open resources."""
    # The routes for the operators are part of the contract, although another port serves them.
    app = routed_app(None, (health.liveness, health.router))
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
    for model in (ProgressResponse, DoneResponse):  # only the text of an event has them
        events = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = events.pop("$defs") | schemas | {model.__name__: events}
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["responses"] = problem_components()
    return document


def openapi_yaml() -> str:
    """The document as YAML. The same code gives the same octets."""
    return (
        "# Generated from the code. Change the code, then run `make openapi`.\n"
        + "\n".join(_lines(openapi_document(), 0))
        + "\n"
    )


def _lines(value: dict[str, Any], depth: int) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{'  ' * depth}{_scalar(key)}:", item, depth + 1)


def _entry(head: str, item: Any, depth: int) -> Iterator[str]:
    """The lines of one key or one list item. `head` is the start of the first line."""
    if isinstance(item, dict) and item:
        yield head
        yield from _lines(item, depth)
    elif isinstance(item, list) and item:
        yield head
        for element in item:
            yield from _item(element, depth)
    else:
        yield f"{head} {_scalar(item)}"


def _item(element: Any, depth: int) -> Iterator[str]:
    """The lines of one list item. The first key of an object is on the line of the dash."""
    dash = f"{'  ' * depth}-"
    if isinstance(element, dict) and element:
        first, *others = _lines(element, depth + 1)
        yield f"{dash} {first.lstrip()}"
        yield from others
    else:
        yield from _entry(dash, element, depth + 1)


def _scalar(value: Any) -> str:
    """A string that needs no quotes as it is, everything else as JSON, which is valid YAML."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_STRINGS:
        return value
    return json.dumps(value, ensure_ascii=False)
