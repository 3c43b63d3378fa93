"""Routes that check the caller before they read the body.

FastAPI reads and parses the body before it calls any dependency. So a caller without a token could make the service
parse megabytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.routing import APIRoute

from marketing_service.api.dependencies import ACCESS_CHECKS
from marketing_service.api.json_body import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from fastapi import Response
    from fastapi.dependencies.models import Dependant


class AuthenticatedRoute(APIRoute):
    """A route whose caller is known, and allowed, before its body is read. It is for every router of the API.

    Which check applies, the function itself says: by its parameter of type Reader, Writer or Reporter.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        checks = [ACCESS_CHECKS[call] for call in _calls(self.dependant) if call in ACCESS_CHECKS]

        async def checked(request: Request) -> Response:
            for check in checks:
                await check(request)
            return await handle(_JsonRequest(request.scope, request.receive))

        return checked


class _JsonRequest(Request):
    """A request whose JSON body is read with limits."""

    async def json(self) -> Any:
        return await read_json(await self.body())


def _calls(dependant: Dependant) -> Iterator[Any]:
    """The functions of all dependencies."""
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
