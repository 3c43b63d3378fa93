"""Log-in, roles, the end of a session, and errors when a server is down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from playwright.async_api import Route, expect
from starlette.middleware.cors import CORSMiddleware

from marketing_service.devstack.login import create_login_router
from marketing_service.devstack.process import free_port
from marketing_service.devstack.web import serving
from tests.browser.console import ADMIN, VIEWER
from tests.browser.served import served

if TYPE_CHECKING:
    from tests.browser.conftest import Visit
    from tests.browser.console import Console

UNREACHABLE = "postgresql://nobody@127.0.0.1:1/nothing"
LONGER_THAN_A_TOKEN = "20:00"
"""Longer than the lifetime of an access token."""


async def test_a_user_without_a_write_role_sees_a_page_that_says_why(console: Console) -> None:
    await console.log_in(VIEWER)
    await expect(console.heading("This page is for administrators")).to_be_visible()
    alert = console.page.get_by_role("alert")
    await expect(alert).to_contain_text("viewer@example.com with the role VIEWER")
    await expect(alert).to_contain_text("ADMIN, SUPER_ADMIN, MANAGER")
    await expect(console.page.get_by_role("navigation")).to_have_count(0)
    await console.button("Log in with another account").click()
    await expect(console.heading("Log in to Marketing")).to_be_visible()
    await console.log_in(ADMIN)
    await expect(console.heading("Campaigns")).to_be_visible()


async def test_a_reload_needs_no_new_log_in_and_shows_the_same_screen(console: Console) -> None:
    await console.log_in(path="/suppressions")
    await expect(console.heading("Suppressions")).to_be_visible()
    await console.page.reload()
    await expect(console.heading("Suppressions")).to_be_visible()
    kept = await console.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "eyJ" not in kept  # how every JWT begins
    await console.button("Log out").click()
    await expect(console.heading("Log in to Marketing")).to_be_visible()


async def test_after_a_log_out_the_session_has_ended(console: Console) -> None:
    await console.log_in()
    before = await console.page.context.cookies()
    assert "refreshToken" in {cookie["name"] for cookie in before}
    async with console.page.expect_request("**/api/auth/logout") as asked:
        await console.button("Log out").click()
    request = await asked.value
    assert request.method == "POST"
    await expect(console.heading("Log in to Marketing")).to_be_visible()
    await expect(console.page.get_by_role("alert").filter(has_text=re.compile("."))).to_have_count(0)
    assert await console.page.context.cookies() == []
    # Neither the browser nor a copy of the cookie gets a new token.
    await console.page.context.add_cookies(before)  # type: ignore[arg-type]  # what cookies() returns
    response = await console.page.request.post(f"{console.origin}/api/auth/refresh")
    assert response.status == 401


async def test_a_log_out_that_fails_says_so_and_still_forgets_the_token(console: Console) -> None:
    """The first time the log-in service responds with an error, the second time not at all."""
    console.expected_errors.append(r"/api/auth/logout")

    async def error(route: Route) -> None:
        await route.fulfill(status=503)

    async def no_response(route: Route) -> None:
        await route.abort()

    for fault, reason in ((error, "status 503"), (no_response, "is not responding")):
        await console.page.route("**/api/auth/logout", fault)
        await console.log_in()
        await console.button("Log out").click()
        await expect(console.heading("Log in to Marketing")).to_be_visible()
        await expect(console.page.get_by_role("alert").filter(has_text="may not have ended")).to_contain_text(reason)
        await console.page.unroute("**/api/auth/logout")
        # The console does not use the session that is left.
        await console.page.reload()
        await expect(console.heading("Log in to Marketing")).to_be_visible()
        await expect(console.page.get_by_text("may not have ended")).to_have_count(0)


async def test_the_end_of_a_session_opens_a_log_in_dialog_and_loses_nothing(console: Console) -> None:
    console.expected_errors.append("Blocked script execution")  # Playwright injects its clock into each frame
    await console.page.clock.install()
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("Half written")
    await console.field("Subject").fill("Soon")
    await console.page.clock.fast_forward(LONGER_THAN_A_TOKEN)
    await console.button("Save draft").click()  # the log-in's cookie has renewed the token in the background
    await expect(console.heading("Half written")).to_be_visible()

    console.expected_errors.append(r"401 .*/api/auth/refresh")
    await console.page.context.clear_cookies()
    await console.page.clock.fast_forward(LONGER_THAN_A_TOKEN)
    await console.button("Duplicate").click()
    await expect(console.dialog).to_contain_text("Your session has ended")
    await console.page.keyboard.press("Escape")
    await console.dialog.get_by_label("Email").fill(ADMIN)
    await console.dialog.get_by_role("button", name="Log in").click()
    await expect(console.heading("Copy of Half written")).to_be_visible()


async def test_with_the_api_down_it_shows_the_reason_and_can_try_again(visit: Visit, ready: dict[str, Any]) -> None:
    """`serve` with MARKETING_CONSOLE=true is killed and started again."""
    port = free_port()
    with served(ready, port) as first:
        console = await visit(origin=f"http://127.0.0.1:{port}")
        console.expected_errors.append("ERR_CONNECTION_REFUSED")
        await console.log_in()
        await expect(console.heading("Campaigns")).to_be_visible()
        first.kill()
        first.wait()
        await console.link("New campaign").first.click()
        alert = console.page.get_by_role("alert")
        await expect(alert).to_contain_text("The service is not responding.")
        await console.button("Try again").click()
        await expect(alert).to_be_visible()
    with served(ready, port):
        await console.button("Try again").click()
        await expect(console.heading("New campaign")).to_be_visible()


async def test_with_the_database_down_it_shows_the_reason(visit: Visit, ready: dict[str, Any]) -> None:
    port = free_port()
    with served(ready, port, MARKETING_DATABASE_URL=UNREACHABLE):
        console = await visit(origin=f"http://127.0.0.1:{port}")
        console.expected_errors.append("503 .*/api/marketing/")
        await console.log_in()
        alert = console.page.get_by_role("alert")
        await expect(alert).to_contain_text("PostgreSQL")
        await expect(alert).to_contain_text(re.compile("Request ID [0-9a-f]{32}"))


async def test_the_log_in_of_the_portal_may_be_at_another_origin(visit: Visit, ready: dict[str, Any]) -> None:
    """MARKETING_CONSOLE_LOGIN_URL must allow CORS with credentials, and have the refresh and the log-out next to it."""
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
            await console.button("Log out").click()
            await expect(console.heading("Log in to Marketing")).to_be_visible()
            await expect(console.page.get_by_text("may not have ended")).to_have_count(0)
            assert await console.page.context.cookies() == []
