"""Who is let in, what they are told otherwise, and how a session goes on."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI
from playwright.async_api import expect
from starlette.middleware.cors import CORSMiddleware

from marketing_service.devstack.login import create_login_router
from marketing_service.devstack.web import serving
from tests.acceptance.portal import eventually
from tests.browser.console import ADMIN, VIEWER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.conftest import Visit
    from tests.browser.console import Console

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nothing"
A_WHILE = "20:00"
"""Longer than an access token is good for."""


async def test_somebody_without_a_writing_role_is_told_that_it_is_for_administrators(console: Console) -> None:
    await console.log_in(VIEWER)
    await expect(console.heading("This page is for administrators")).to_be_visible()
    said = console.page.get_by_role("alert")
    await expect(said).to_contain_text("viewer@example.com, with the role VIEWER")
    await expect(said).to_contain_text("ADMIN, SUPER_ADMIN, MANAGER")
    await expect(console.page.get_by_role("navigation")).to_have_count(0)
    await console.button("Log in as somebody else").click()
    await console.log_in(ADMIN)
    await expect(console.heading("Campaigns")).to_be_visible()


async def test_a_reload_needs_no_new_log_in_and_finds_the_same_screen(console: Console) -> None:
    await console.log_in(path="/suppressions")
    await expect(console.heading("Suppressions")).to_be_visible()
    await console.page.reload()
    await expect(console.heading("Suppressions")).to_be_visible()
    kept = await console.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "eyJ" not in kept  # how every JWT begins
    await console.button("Log out").click()
    await expect(console.heading("Log in to Marketing")).to_be_visible()


async def test_a_session_that_ends_asks_above_the_page_and_loses_nothing(console: Console) -> None:
    console.meant.append("Blocked script execution")  # Playwright's clock, which wants to be in every frame
    await console.page.clock.install()
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("Half written")
    await console.field("Subject").fill("Soon")
    await console.page.clock.fast_forward(A_WHILE)
    await console.button("Save draft").click()  # the log-in's cookie has renewed the token, unseen
    await expect(console.heading("Half written")).to_be_visible()

    console.meant.append(r"401 .*/api/auth/refresh")
    await console.page.context.clear_cookies()
    await console.page.clock.fast_forward(A_WHILE)
    await console.button("Duplicate").click()
    await expect(console.dialog).to_contain_text("Your session has ended")
    await console.page.keyboard.press("Escape")
    await console.dialog.get_by_label("Email").fill(ADMIN)
    await console.dialog.get_by_role("button", name="Log in").click()
    await expect(console.heading("Copy of Half written")).to_be_visible()


async def test_with_the_api_down_it_says_why_and_tries_again(visit: Visit, ready: dict[str, Any]) -> None:
    """`serve` with MARKETING_CONSOLE=true, killed and started again."""
    port = free_port()
    with served(ready, port) as first:
        console = await visit(origin=f"http://127.0.0.1:{port}")
        console.meant.append("ERR_CONNECTION_REFUSED")
        await console.log_in()
        await expect(console.heading("Campaigns")).to_be_visible()
        first.kill()
        first.wait()
        await console.link("New campaign").first.click()
        said = console.page.get_by_role("alert")
        await expect(said).to_contain_text("The service does not answer.")
        await console.button("Try again").click()
        await expect(said).to_be_visible()
    with served(ready, port):
        await console.button("Try again").click()
        await expect(console.heading("New campaign")).to_be_visible()


async def test_with_the_database_down_it_says_so(visit: Visit, ready: dict[str, Any]) -> None:
    port = free_port()
    with served(ready, port, MARKETING_DATABASE_URL=UNREACHABLE):
        console = await visit(origin=f"http://127.0.0.1:{port}")
        console.meant.append("503 .*/api/marketing/")
        await console.log_in()
        said = console.page.get_by_role("alert")
        await expect(said).to_contain_text("PostgreSQL does not answer")
        await expect(said).to_contain_text(re.compile("Request [0-9a-f]{32}"))


async def test_the_portals_log_in_may_be_at_another_origin(visit: Visit, ready: dict[str, Any]) -> None:
    """What MARKETING_CONSOLE_LOGIN_URL must answer: CORS with credentials, and the refresh beside it."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    env = ready["env"]
    portal = FastAPI()
    portal.include_router(
        create_login_router(env["MARKETING_JWT_SECRET"], env["MARKETING_JWT_ISSUER"], env["MARKETING_JWT_AUDIENCE"])
    )
    cors = {
        "allow_origins": [origin],
        "allow_credentials": True,
        "allow_methods": ["POST"],
        "allow_headers": ["content-type"],
    }
    portal.add_middleware(CORSMiddleware, **cors)  # type: ignore[arg-type]
    async with serving(portal, 0) as portals_port:
        login_url = f"http://127.0.0.1:{portals_port}/api/auth/login"
        with served(ready, port, dev_login=False, MARKETING_CONSOLE_LOGIN_URL=login_url):
            console = await visit(origin=origin)
            await console.log_in()
            await expect(console.heading("Campaigns")).to_be_visible()
            await console.page.reload()
            await expect(console.heading("Campaigns")).to_be_visible()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def served(
    ready: dict[str, Any], port: int, *, dev_login: bool = True, **changes: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The API with the console, a process of its own beside the one that `dev` has."""
    flags = ["--port", str(port), *(["--dev-login"] if dev_login else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "marketing_service", "serve", *flags],
        env={**os.environ, **ready["env"], "MARKETING_CONSOLE": "true", **changes},
    )
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
            except httpx.ConnectError:
                return False

        eventually(answers)
        yield process
    finally:
        process.terminate()
        process.wait(20)
