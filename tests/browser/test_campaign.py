"""One campaign's screen: what can be done with it, by pointer and by keyboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.acceptance.portal import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.acceptance.portal import Portal
    from tests.browser.console import Console


async def test_a_launch_by_keyboard_alone(console: Console, portal: Portal) -> None:
    portal.save("LEAD", name="By keyboard")
    press = console.page.keyboard.press
    await console.open()
    await expect(console.page.get_by_label("Email")).to_be_focused()
    await console.page.keyboard.type("you@example.com")
    await press("Enter")
    await expect(console.heading("Campaigns")).to_be_visible()

    await tab_to(console, "Skip to the content")
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
    await expect(console.page.locator("#progress")).to_have_text(re.compile("^It is sent: "))


async def tab_to(console: Console, name: str) -> None:
    """Presses Tab until what begins with this name has the focus, as anybody without a pointer would."""
    for _ in range(40):
        await console.page.keyboard.press("Tab")
        focused = await console.page.evaluate(
            """() => {
                const one = document.activeElement;
                if (one === document.body) return '';
                return one.getAttribute('aria-label') ?? one.labels?.[0]?.innerText ?? one.innerText ?? '';
            }"""
        )
        if focused.strip().startswith(name):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


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
        await expect(console.page.get_by_text("The list of recipients is being made.")).to_be_visible()
        await console.button("Pause").click()
        await expect(badge).to_have_text("Sending, paused")
        await expect(console.page.get_by_text("Paused by a person.")).to_be_visible()
        await console.button("Resume").click()
        await expect(badge).to_have_text("Sending")
        await console.button("Cancel").click()
        await console.button("Keep sending").click()
        await console.button("Cancel").click()
        await console.button("Cancel the rest").click()
        await expect(console.button("Pause")).to_have_count(0)
        await expect(console.button("Refresh")).to_be_visible()
    await expect(badge).to_have_text("Sent, cancelled")
    assert await console.figure("Delivered") == "0"


async def test_what_is_unfolded_stays_so_while_figures_move(console: Console, portal: Portal) -> None:
    campaign = portal.launch("LEAD", name="Read closely")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.page.get_by_text("As a table").click()
    await expect(console.page.locator("details table")).to_be_visible()
    async with console.page.expect_response(re.compile("/timeline")):
        await console.button("Refresh").click()
    await console.page.get_by_text("As a table").focus()
    await expect(console.page.locator("details table")).to_be_visible()


async def test_a_test_goes_to_the_addresses_named(console: Console, portal: Portal) -> None:
    console.meant.append("422 .*/test")
    campaign = portal.save(name="Tried out", subject="Tried out by {{ firstName }}")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Send a test").click()
    await expect(console.dialog.get_by_label("Addresses")).to_have_value("you@example.com")
    await console.dialog.get_by_label("Addresses").fill("nobody")
    await console.button("Send the test").click()
    await expect(console.dialog.locator(".wrong")).to_contain_text("Is not an email address we can use")
    await console.dialog.get_by_label("Addresses").fill("you@example.com, me@example.com")
    await console.button("Send the test").click()
    await expect(console.dialog).to_have_count(0)
    mails = eventually(
        lambda: (_found := portal.mails("[Test] Tried out by Alex")) if len(portal.mails("[Test] Tried")) == 2 else None
    )
    assert {mail["to"] for mail in mails} == {"you@example.com", "me@example.com"}


async def test_a_check_tells_what_stands_against_a_launch_which_then_must_insist(
    console: Console, portal: Portal
) -> None:
    console.meant.append("409 .*/launch")
    campaign = portal.save("LEAD", name="With an error", subject="{{ firstName }}")  # one of them has none
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Check now").click()
    findings = console.page.locator(".findings li")
    await expect(findings.filter(has_text="Error")).to_contain_text("subject")
    await console.button("Launch campaign").click()
    launch = console.dialog.get_by_role("button", name="Launch campaign")
    await launch.click()
    await expect(console.dialog.get_by_role("alert")).to_contain_text("The check of this version found 1 error")
    await console.dialog.get_by_label("Launch it although its check found errors").check()
    await launch.click()
    await expect(console.page.locator(".title .badge")).to_have_text("Sent")


async def test_resend_after_a_question_and_filters_in_the_address(console: Console, portal: Portal) -> None:
    campaign = portal.launch("CUSTOMER", name="Resent", subject="Resent")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.link("Failed").click()
    await expect(console.page.get_by_role("row")).to_have_count(3)
    assert "status=FAILED&status=UNCONFIRMED" in console.page.url
    await expect(console.page.get_by_role("row").filter(has_text="drop@")).to_contain_text("Unconfirmed")
    await console.button("Resend to drop@example.com").click()
    await expect(console.dialog).to_contain_text("Nobody knows whether it arrived")
    await console.button("Resend").click()
    await expect(console.page.get_by_role("row").filter(has_text="drop@")).to_contain_text("Queued")
    assert eventually(lambda: len(portal.mails("Resent", to="drop@example.com")) == 2)
    portal.until_sent(campaign["id"])


async def test_only_what_was_not_sent_can_be_deleted(console: Console, portal: Portal) -> None:
    campaign = portal.save(name="Not wanted")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Delete").click()
    await console.button("Delete campaign").click()
    await expect(console.heading("Campaigns")).to_be_visible()
    assert portal.api.get(f"/campaigns/{campaign['id']}").status_code == 404
    console.meant.append("404 .*")
    await console.open(f"/campaigns/{campaign['id']}")
    await expect(console.heading("Not found")).to_be_visible()


async def test_a_campaign_of_another_organisation_is_not_there(console: Console, portal: Portal) -> None:
    console.meant.append("404 .*")
    campaign = portal.save(name="Acme's own")
    await console.log_in("other@example.org", path=f"/campaigns/{campaign['id']}")
    await expect(console.heading("Not found")).to_be_visible()
