"""Serves the files of the console. In the browser, their scripts get all data from the API."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from marketing_service.settings import Settings

PREFIX = "/marketing"
OWN_LOGIN = "/api/auth/login"
"""The log-in URL if the settings name none: on the console's own origin, as behind a portal."""

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE = "index.html"
# The frame that shows a message. Its policy differs from the page's, because a message has inline styles. No script
# runs in it: neither this policy nor the frame's sandbox allows one.
_FRAMES = {"mail.html": "data:", "mail-with-images.html": "data: http: https:"}
_FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src {}; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]

    def response(self, request: Request) -> Response:
        """The file, or 304 if the client has it already."""
        if self.headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def create_console_router(settings: Settings, *, root_path: str = "") -> APIRouter:
    """`/marketing` and everything below it. `root_path` is the prefix of the paths at the proxy. The page names its
    first files with it, and they find all others relative to themselves."""
    login_url = settings.console_login_url or OWN_LOGIN
    logout_url = settings.console_logout_url or urljoin(login_url, "logout")
    served = dict(_files(_page_policy(login_url, logout_url), root_path))
    configuration = {
        "loginUrl": login_url,
        "logoutUrl": logout_url,
        "orgClaim": settings.jwt_org_claim,
        "rolesClaim": settings.jwt_roles_claim,
        "writeRoles": settings.write_roles,
    }
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/static/{name:path}")
    async def static(name: str, request: Request) -> Response:
        file = served.get(name)
        if file is None or name == _PAGE:
            raise HTTPException(404)
        return file.response(request)

    @router.get("/configuration.json")
    async def configure() -> Response:
        return JSONResponse(configuration)

    # The script of the page shows the screen that belongs to the path.
    @router.get("")
    @router.get("/{screen:path}")
    async def page(request: Request) -> Response:
        return served[_PAGE].response(request)

    return router


def _page_policy(*urls: str) -> str:
    """The policy of the page, which may connect to its own origin and to those of `urls`. `trusted-types` is 'none',
    because its script creates every element itself and never parses text as HTML."""
    origins = dict.fromkeys(f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, urls) if parts.netloc)
    connect = " ".join(["'self'", *origins])
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; "
        "frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _files(page_policy: str, root_path: str) -> Iterator[tuple[str, _File]]:
    for name, entry in _entries(files(__package__).joinpath("static"), ""):
        media_type = _MEDIA_TYPES["." + name.rpartition(".")[2]]
        policy = {"Content-Security-Policy": page_policy} if name == _PAGE else {}
        content = entry.read_bytes()
        if name == _PAGE:
            content = content.replace(f'"{PREFIX}/'.encode(), f'"{root_path}{PREFIX}/'.encode())
        yield name, _file(content, media_type, policy)
        if name in _FRAMES:
            for frame, images in _FRAMES.items():
                policy = {"Content-Security-Policy": _FRAME_POLICY.format(images)}
                yield frame, _file(content, media_type, policy)


def _entries(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _entries(entry, f"{path}{entry.name}/")
        else:
            yield path + entry.name, entry


def _file(content: bytes, media_type: str, headers: dict[str, str]) -> _File:
    # The browser revalidates the file each time and gets 304 if it has not changed, so a new release shows at once.
    fresh = {"ETag": f'"{sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    return _File(content, {"Content-Type": media_type, **fresh, **headers})
