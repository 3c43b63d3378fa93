"""Serves the API below a path prefix, behind a proxy that removes the prefix or keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RootPathMiddleware:
    """Removes the prefix from the path of a request, if the proxy has not done it, and adds it to a `Location` on this
    origin. So nothing inside knows the prefix."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def respond(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                location = headers.get("location", "")
                if location.startswith("/"):
                    headers["location"] = self._root_path + location
            await send(message)

        await self._app(self._without_prefix(scope), receive, respond)

    def _without_prefix(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        if path != self._root_path and not path.startswith(f"{self._root_path}/"):
            return scope
        path = path[len(self._root_path) :] or "/"
        return {**scope, "path": path, "raw_path": quote(path).encode("ascii")}
