"""The screen of a campaign while it is sent: it follows the event stream, and polls where there is none."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.async_api import Route

    from tests.acceptance.portal import Portal
    from tests.browser.console import Console

EVENTS = re.compile(r"/events$")


async def test_the_screen_follows_the_event_stream_to_the_end(
    console: Console, portal: Portal, frozen_worker: Callable[[], AbstractContextManager[None]]
) -> None:
    campaign = portal.save("LEAD", name="Followed")
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url) if EVENTS.search(request.url) else None)
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    with frozen_worker():
        async with console.page.expect_response(EVENTS) as streams:
            await console.button("Launch campaign").click()
            await console.dialog.get_by_role("button", name="Launch campaign").click()
        await expect(console.page.get_by_text("Building the recipient list.")).to_be_visible()
    await expect(console.page.locator(".title .badge")).to_have_text("Sent")
    assert (await streams.value).status == 200
    assert asked == [f"{portal.ready['api']}/api/marketing/campaigns/{campaign['id']}/events"]


async def test_without_an_event_stream_the_screen_polls(console: Console, portal: Portal) -> None:
    async def refuse(route: Route) -> None:
        await route.abort()

    campaign = portal.save("LEAD", name="Polled")
    console.expected_errors = [r"net::ERR_FAILED .*/events$"]
    await console.page.route(EVENTS, refuse)
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Launch campaign").click()
    await console.dialog.get_by_role("button", name="Launch campaign").click()
    await expect(console.page.locator(".title .badge")).to_have_text("Sent")


async def test_a_stream_shows_the_rate_and_the_time_left(console: Console, portal: Portal) -> None:
    """The stream is made up: the real sending to a few contacts ends before a person can read the line."""
    campaign = portal.launch("LEAD", name="Rated")
    stats = portal.stats(campaign["id"]) | {"status": "SENDING", "queued": 90, "ratePerSecond": 1.5, "secondsLeft": 60}
    body = f"event: stats\ndata: {json.dumps(stats)}\n\n"

    async def unfinished(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(response=response, json=await response.json() | {"status": "SENDING", "sentAt": None})

    async def streamed(route: Route) -> None:
        await route.fulfill(content_type="text/event-stream", body=body)

    await console.page.route(re.compile(rf"/campaigns/{campaign['id']}$"), unfinished)
    await console.page.route(EVENTS, streamed)
    await console.log_in(path="")
    await console.page.get_by_text("Rated").click()
    await expect(console.page.get_by_text("1.5 emails a second, 60 seconds left")).to_be_visible()
