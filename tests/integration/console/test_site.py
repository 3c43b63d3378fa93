"""The headers of the console's files. What the console shows is tested in a browser (tests/browser)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from marketing_service.api.app import routed_app
from marketing_service.console import create_console_router
from marketing_service.console.site import OWN_LOGIN
from tests.support.project import ROOT
from tests.support.world import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

STATIC = ROOT / "src" / "marketing_service" / "console" / "static"
FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*.*") if path.name != "index.html")
REMOTE = re.compile(r"""(?:src|href|import|from|url)\s*[=(]?\s*["'(]\s*(?:https?:)?//""")


def app(**values: Any) -> FastAPI:
    places = {"database_url": "postgresql://nobody@127.0.0.1:1/x", "redis_url": "redis://127.0.0.1:1"}
    return routed_app(None, [create_console_router(make_settings(**places, **values))])


@pytest.fixture
def client() -> Callable[..., httpx.AsyncClient]:
    def of(**values: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app(**values)), base_url="http://marketing.test")

    return of


def policy(response: httpx.Response) -> dict[str, str]:
    directives = response.headers["content-security-policy"].split("; ")
    return {name: sources for name, _, sources in (directive.partition(" ") for directive in directives)}


async def test_every_screen_is_the_same_page_and_may_load_only_from_its_own_origin(
    client: Callable[..., httpx.AsyncClient],
) -> None:
    async with client() as http:
        for path in ("/marketing", "/marketing/", "/marketing/campaigns/new", "/marketing/suppressions"):
            page = await http.get(path)
            assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert page.text == (STATIC / "index.html").read_text(encoding="utf-8")
    allowed = policy(page)
    assert allowed.pop("default-src") == "'none'"
    assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http" not in page.headers["content-security-policy"]
    assert (page.headers["x-content-type-options"], page.headers["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_the_page_may_connect_to_the_origin_of_a_foreign_login_url(
    client: Callable[..., httpx.AsyncClient],
) -> None:
    async with client(console_login_url="https://portal.example.com:8443/api/auth/login?a=b") as http:
        assert policy(await http.get("/marketing"))["connect-src"] == "'self' https://portal.example.com:8443"
        configuration = (await http.get("/marketing/configuration.json")).json()
    assert configuration["loginUrl"] == "https://portal.example.com:8443/api/auth/login?a=b"


@pytest.mark.parametrize(
    ("values", "logout_url", "connect"),
    [
        ({}, "/api/auth/logout", "'self'"),
        (
            {"console_login_url": "https://portal.example.com/api/auth/login?a=b"},
            "https://portal.example.com/api/auth/logout",
            "'self' https://portal.example.com",
        ),
        (
            {"console_logout_url": "https://portal.example.com/end"},
            "https://portal.example.com/end",
            "'self' https://portal.example.com",
        ),
        (
            {"console_login_url": "https://login.example.com/in", "console_logout_url": "https://sso.example.com/out"},
            "https://sso.example.com/out",
            "'self' https://login.example.com https://sso.example.com",
        ),
    ],
)
async def test_the_log_out_is_beside_the_log_in_or_at_its_own_url(
    client: Callable[..., httpx.AsyncClient], values: dict[str, str], logout_url: str, connect: str
) -> None:
    async with client(**values) as http:
        assert (await http.get("/marketing/configuration.json")).json()["logoutUrl"] == logout_url
        assert policy(await http.get("/marketing"))["connect-src"] == connect


async def test_the_configuration_has_the_claims_and_roles_and_no_secret(
    client: Callable[..., httpx.AsyncClient],
) -> None:
    async with client(jwt_roles_claim="groups", jwt_org_claim="tenant", write_roles="EDITOR") as http:
        configuration = (await http.get("/marketing/configuration.json")).json()
    assert configuration == {
        "loginUrl": OWN_LOGIN,
        "logoutUrl": "/api/auth/logout",
        "orgClaim": "tenant",
        "rolesClaim": "groups",
        "writeRoles": ["EDITOR"],
    }


@pytest.mark.parametrize("name", FILES)
async def test_an_unchanged_file_gets_304(client: Callable[..., httpx.AsyncClient], name: str) -> None:
    async with client() as http:
        first = await http.get(f"/marketing/static/{name}")
        assert (first.status_code, first.content) == (200, (STATIC / name).read_bytes())
        assert first.headers["cache-control"] == "no-cache"
        again = await http.get(f"/marketing/static/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        changed = await http.get(f"/marketing/static/{name}", headers={"If-None-Match": '"another"'})
        assert changed.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "%2e%2e/site.py", "js", ""])
async def test_other_paths_and_methods_are_refused(client: Callable[..., httpx.AsyncClient], name: str) -> None:
    async with client() as http:
        missing = await http.get(f"/marketing/static/{name}")
        assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")
        refused = await http.post("/marketing")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


async def test_the_frame_of_a_message_runs_no_script_and_loads_remote_images_only_on_request(
    client: Callable[..., httpx.AsyncClient],
) -> None:
    async with client() as http:
        plain, with_images = [
            await http.get(f"/marketing/static/{name}") for name in ("mail.html", "mail-with-images.html")
        ]
    assert plain.content == with_images.content
    for frame, images in ((plain, "data:"), (with_images, "data: http: https:")):
        allowed = policy(frame)
        assert (allowed["default-src"], allowed["img-src"]) == ("'none'", images)
        assert "script-src" not in allowed
        assert "allow-scripts" not in allowed["sandbox"]
        assert allowed["frame-ancestors"] == "'self'"


@pytest.mark.parametrize("name", [*FILES, "index.html"])
def test_files_load_nothing_from_other_origins_and_have_no_inline_code(name: str) -> None:
    text = (STATIC / name).read_text(encoding="utf-8")
    assert REMOTE.findall(text.replace("http://www.w3.org/2000/svg", "")) == []
    if name.endswith(".html"):
        assert re.findall(r"<style|style=|<script(?![^>]*src=)|\son\w+=", text) == []


async def test_the_console_is_off_by_default() -> None:
    transport = httpx.ASGITransport(routed_app(None))
    async with httpx.AsyncClient(transport=transport, base_url="http://marketing.test") as http:
        assert (await http.get("/marketing")).status_code == 404
