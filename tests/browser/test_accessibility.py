"""Accessibility: axe finds no violation on any screen, in light and dark, and each screen fits a phone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.async_api import expect

from tests.browser.axe import check
from tests.browser.console import VIEWER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.portal import Portal
    from tests.browser.conftest import Visit
    from tests.browser.console import Console

NARROW = 360
LONG = "A rather long name for a campaign, of the kind that a committee agrees upon in the late afternoon"


@pytest.fixture(scope="module")
def campaigns(portal: Portal) -> dict[str, dict[str, Any]]:
    """A checked draft, and a sent campaign with sends in different states."""
    draft = portal.save(name=LONG, subject=LONG)
    portal.api.post(f"/campaigns/{draft['id']}/check").raise_for_status()
    return {"draft": draft, "sent": portal.launch("CUSTOMER", "LEAD", name="Sent to many")}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", NARROW)])
async def test_every_screen(visit: Visit, campaigns: dict[str, dict[str, Any]], scheme: str, width: int) -> None:
    console = await visit(scheme=scheme, width=width)
    console.expected_errors.append("422 .*")
    draft, sent = campaigns["draft"]["id"], campaigns["sent"]["id"]

    await console.open()
    await expect(console.heading("Log in to Marketing")).to_be_visible()
    await check(console, "log-in")
    await console.log_in()
    await expect(console.page.locator(".rows li").first).to_be_visible()
    await check(console, "list")

    async with screen(console, "/campaigns/new", "New campaign"):
        await console.button("Save draft").click()
        await expect(console.page.locator(".wrong").first).not_to_be_empty()
        await console.page.get_by_label("By status").check()
    async with screen(console, f"/campaigns/{draft}/edit", f"Edit {LONG}"):
        await expect(console.mail().get_by_text("Hello Alex")).to_be_visible()
    async with screen(console, f"/campaigns/{draft}", LONG):
        await expect(console.page.locator(".findings li").first).to_be_visible()
        await console.button("Launch campaign").click()
        await expect(console.page.locator(".launch-count b")).to_be_visible()
    async with screen(console, f"/campaigns/{sent}", "Sent to many"):
        await expect(console.page.locator("svg.chart")).to_be_visible()
        await console.page.get_by_text("Show as table").click()
    async with screen(console, f"/campaigns/{sent}/log", "Email log"):
        await expect(console.page.get_by_text("reject-550@example.com").first).to_be_visible()
    async with screen(console, "/suppressions", "Suppressions"):
        await console.button("Import CSV").click()
        rows = b"".join(b"nobody %d\n" % number for number in range(12))
        await console.dialog.get_by_label("CSV file").set_input_files(
            {"name": "list.csv", "mimeType": "text/csv", "buffer": b"email\n" + rows}
        )
        await console.button("Import").click()
        await console.page.get_by_text("Show 2 more rows").click()
    async with screen(console, "/nowhere", "Not found"):
        pass


@asynccontextmanager
async def screen(console: Console, path: str, name: str) -> AsyncIterator[None]:
    """Opens a screen, runs the block, and checks the screen."""
    await console.open(path)
    await expect(console.page.get_by_role("heading", level=1)).to_be_visible()
    yield
    await check(console, name)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_for_users_without_a_write_role(visit: Visit, scheme: str) -> None:
    console = await visit(scheme=scheme)
    await console.log_in(VIEWER)
    await expect(console.heading("This page is for administrators")).to_be_visible()
    await check(console, "no write role")
