"""A CRM with a given number of contacts, none of them opted out: `python -m bench.crm --port N --contacts N`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import uvicorn
from bench.campaign import person

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


def create_app(contacts: int) -> Callable[..., Awaitable[None]]:
    """An ASGI application with one route, `GET …/contacts`. It ignores all filters."""

    def page(query: dict[str, list[str]]) -> bytes:
        first = int(query.get("cursor", ["0"])[0])
        end = min(first + int(query["limit"][0]), contacts)
        items = [
            {"id": f"c{number:08}", "status": "CUSTOMER", "marketingOptOut": False, **person(number)}
            for number in range(first, end)
        ]
        return json.dumps({"items": items, "nextCursor": str(end) if end < contacts else None}).encode()

    async def app(scope: Any, _: Any, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = page(parse_qs(scope["query_string"].decode())) if scope["query_string"] else b"{}"
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--contacts", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(create_app(options.contacts), port=options.port, lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
