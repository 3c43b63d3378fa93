"""The screen of a campaign: its actions, by mouse and by keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.acceptance.portal import eventually
from tests.browser.console import tab_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.acceptance.portal import Portal
    from tests.browser.console import Console


async def test_a_launch_with_the_keyboard_only(console: Console, portal: Portal) -> None:
    portal.save("LEAD", name="By keyboard")
    press = console.page.keyboard.press
    await console.open()
    await expect(console.page.get_by_label("Email")).to_be_focused()
    await console.page.keyboard.type("you@example.com")
    await press("Enter")
    await expect(console.heading("Campaigns")).to_be_visible()

    await tab_to(console, "Skip to content")
    await press("Enter")
    await expect(console.page.get_by_role("main")).to_be_focused()
    await expect(console.heading("Campaigns")).to_be_visible()
    await tab_to(console, "Name starts with")
    await console.page.keyboard.type("by key")
    await expect(console.page.locator(".rows li")).to_have_count(1)
    await tab_to(console, "By keyboard")
    await press("Enter")
    await expect(console.heading("By keyboard")).to_be_focused()

    await tab_to(console, "Launch campaign")
    await press("Enter")
    await expect(console.dialog).to_be_visible()
    await press("Escape")
    await expect(console.dialog).to_have_count(0)
    await expect(console.button("Launch campaign")).to_be_focused()
    await press("Enter")
    await tab_to(console, "Launch campaign")
    await press("Enter")
    await expect(console.page.locator(".title .badge")).to_have_text("Sent")
    await expect(console.page.locator("#announcer")).to_have_text(re.compile("^Campaign sent. "))


async def test_pause_resume_and_cancel(
    console: Console, portal: Portal, frozen_worker: Callable[[], AbstractContextManager[None]]
) -> None:
    campaign = portal.save("LEAD", name="Stopped halfway")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    badge = console.page.locator(".title .badge")
    with frozen_worker():
        await console.button("Launch campaign").click()
        await console.dialog.get_by_role("button", name="Launch campaign").click()
        await expect(badge).to_have_text("Sending")
        await expect(console.page.get_by_text("Building the recipient list.")).to_be_visible()
        await console.button("Pause").click()
        await expect(badge).to_have_text("Sending, paused")
        await expect(console.page.get_by_text("Paused by a user.")).to_be_visible()
        await console.button("Resume").click()
        await expect(badge).to_have_text("Sending")
        await console.button("Cancel").click()
        await console.button("Keep sending").click()
        await console.button("Cancel").click()
        await console.button("Cancel campaign").click()
        await expect(console.button("Pause")).to_have_count(0)
        await expect(console.button("Refresh")).to_be_visible()
    await expect(badge).to_have_text("Sent, cancelled")
    assert await console.stat("Delivered") == "0"


async def test_open_details_stay_open_when_the_stats_change(console: Console, portal: Portal) -> None:
    campaign = portal.launch("LEAD", name="Read closely")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.page.get_by_text("Show as table").click()
    await expect(console.page.locator("details table")).to_be_visible()
    async with console.page.expect_response(re.compile("/timeline")):
        await console.button("Refresh").click()
    await console.page.get_by_text("Show as table").focus()
    await expect(console.page.locator("details table")).to_be_visible()


async def test_a_test_email_goes_to_the_given_addresses(console: Console, portal: Portal) -> None:
    console.expected_errors.append("422 .*/test")
    campaign = portal.save(name="Tried out", subject="Tried out by {{ firstName }}")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Send test email").click()
    await expect(console.dialog.get_by_label("Email addresses")).to_have_value("you@example.com")
    await console.dialog.get_by_label("Email addresses").fill("nobody")
    await console.button("Send test").click()
    await expect(console.dialog.locator(".wrong")).to_contain_text(re.compile("email address", re.IGNORECASE))
    await console.dialog.get_by_label("Email addresses").fill("you@example.com, me@example.com")
    await console.button("Send test").click()
    await expect(console.dialog).to_have_count(0)
    mails = eventually(
        lambda: (_found := portal.mails("[Test] Tried out by Alex")) if len(portal.mails("[Test] Tried")) == 2 else None
    )
    assert {mail["to"] for mail in mails} == {"you@example.com", "me@example.com"}


async def test_after_a_check_with_errors_a_launch_must_be_forced(console: Console, portal: Portal) -> None:
    console.expected_errors.append("409 .*/launch")
    campaign = portal.save("LEAD", name="With an error", subject="{{ firstName }}")  # one contact has no first name
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Check now").click()
    findings = console.page.locator(".findings li")
    await expect(findings.filter(has_text="Error")).to_contain_text("subject")
    await console.button("Launch campaign").click()
    launch = console.dialog.get_by_role("button", name="Launch campaign")
    await launch.click()
    await expect(console.dialog.get_by_role("alert")).to_contain_text("found 1 error")
    await console.dialog.get_by_label("Launch despite the errors that the check found").check()
    await launch.click()
    await expect(console.page.locator(".title .badge")).to_have_text("Sent")


async def test_resend_after_confirmation_and_filters_in_the_url(console: Console, portal: Portal) -> None:
    campaign = portal.launch("CUSTOMER", name="Resent", subject="Resent")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.link("Failed").click()
    await expect(console.page.get_by_role("row")).to_have_count(3)
    assert "status=FAILED&status=UNCONFIRMED" in console.page.url
    await expect(console.page.get_by_role("row").filter(has_text="drop@")).to_contain_text("Unconfirmed")
    await console.button("Resend to drop@example.com").click()
    await expect(console.dialog).to_contain_text("The relay did not confirm this message")
    await console.button("Resend").click()
    await expect(console.page.get_by_role("row").filter(has_text="drop@")).to_contain_text("Queued")
    assert eventually(lambda: len(portal.mails("Resent", to="drop@example.com")) == 2)
    portal.until_sent(campaign["id"])


async def test_a_draft_can_be_deleted(console: Console, portal: Portal) -> None:
    campaign = portal.save(name="Not wanted")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Delete").click()
    await console.button("Delete campaign").click()
    await expect(console.heading("Campaigns")).to_be_visible()
    assert portal.api.get(f"/campaigns/{campaign['id']}").status_code == 404
    console.expected_errors.append("404 .*")
    await console.open(f"/campaigns/{campaign['id']}")
    await expect(console.heading("Not found")).to_be_visible()


async def test_a_campaign_of_another_organisation_is_not_found(console: Console, portal: Portal) -> None:
    console.expected_errors.append("404 .*")
    campaign = portal.save(name="Acme's own")
    await console.log_in("other@example.org", path=f"/campaigns/{campaign['id']}")
    await expect(console.heading("Not found")).to_be_visible()
