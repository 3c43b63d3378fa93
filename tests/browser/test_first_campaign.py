"""The first steps of a new user: log in, write a campaign, launch it, read the results, duplicate it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.acceptance.portal import eventually
from tests.browser.console import text_of

if TYPE_CHECKING:
    from tests.acceptance.portal import Portal
    from tests.browser.console import Console

NAME = "April newsletter"
BEFORE, AFTER = '<h1 style="color: rgb(36, 87, 197)">Hello ', "</h1><p>How are things at {{ companyName }}?</p>"
READER = "ada.lovelace@example.com"


async def test_a_campaign_from_the_log_in_to_its_copy(console: Console, portal: Portal) -> None:
    badge = console.page.locator(".title .badge")

    await console.log_in()
    await expect(console.heading("Campaigns")).to_be_visible()
    await write_with_a_preview(console)
    await console.button("Save draft").click()
    await expect(console.heading(NAME)).to_be_visible()
    await expect(badge).to_have_text("Draft")
    await expect(console.mail().get_by_text("How are things at Sample & Sons?")).to_be_visible()

    people = await launch_and_confirm(console)
    await expect(badge).to_have_text("Sent")
    assert people == f"{await console.stat('Recipients')} people"
    await expect(console.page.locator("svg.chart")).to_be_visible()
    assert await console.stat("Failed") == "2"  # one rejected, one unconfirmed
    await expect(console.page.locator(".stat.danger")).to_have_attribute("title", "1 failed, 1 unconfirmed")

    await read_the_mail_and_unsubscribe(console, portal)
    assert eventually(lambda: portal.contact(READER)["marketingOptOut"])
    portal.tick_opt_out(READER, opted_out=False)

    await console.link(re.compile(r"^Email log")).click()
    row = console.page.get_by_role("row").filter(has_text=READER)
    await expect(row).to_contain_text("Delivered")
    await expect(row).to_contain_text("unsubscribed")
    await console.page.get_by_label("Failed").check()
    await expect(console.page.get_by_role("row")).to_have_count(2)
    await expect(console.page.get_by_role("row").nth(1)).to_contain_text("reject-550@example.com")
    await console.page.get_by_label("Failed").uncheck()
    lines = (await csv(console)).splitlines()
    assert f"{len(lines) - 1} people" == people
    assert any(READER in line for line in lines)

    await console.link("Overview").click()
    await console.button("Duplicate").click()
    await expect(console.heading(f"Copy of {NAME}")).to_be_visible()
    await expect(badge).to_have_text("Draft")
    await console.link("Campaigns").first.click()
    recipients = people.removesuffix(" people")
    sent = console.link(re.compile(rf"^{NAME} .*Sent.*{recipients}.*% open"))
    await expect(sent).to_be_visible()


async def write_with_a_preview(console: Console) -> None:
    """Types a campaign and inserts one placeholder with its button. Does not save it."""
    await console.link("New campaign").first.click()
    await console.field("Name").fill(NAME)
    await console.field("From name").fill("Acme")
    await console.field("From email").fill("news@acme.example")
    await console.field("Subject").fill("News for {{ firstName }}")
    await console.field("HTML").fill(BEFORE + AFTER)
    await console.field("HTML").evaluate("(area, end) => area.setSelectionRange(end, end)", len(BEFORE))
    await console.button("First name").click()
    await expect(console.field("HTML")).to_have_value(BEFORE + "{{ firstName }}" + AFTER)
    await expect(console.mail().get_by_role("heading", name="Hello Alex")).to_have_css("color", "rgb(36, 87, 197)")
    await expect(console.page.locator(".mail-subject")).to_have_text("Subject News for Alex")
    await console.page.get_by_label("By status").check()
    await console.page.get_by_label("Customer").check()
    await expect(console.page.locator(".audience-now")).to_have_text(
        re.compile(r"^\d+ people would receive this campaign now\.$")
    )


async def launch_and_confirm(console: Console) -> str:
    """Returns the number of recipients that the dialog showed."""
    await console.button("Launch campaign").click()
    people = await console.page.locator(".launch-count b").inner_text()
    await expect(console.dialog).to_contain_text("Contacts by status: Customer")
    await console.dialog.get_by_role("button", name="Launch campaign").click()
    return people


async def read_the_mail_and_unsubscribe(console: Console, portal: Portal) -> None:
    inbox = await console.page.context.new_page()
    await inbox.goto(f"{portal.ready['inbox']}/?to={READER}")
    await inbox.get_by_role("link", name=re.compile("News for Ada")).first.click()
    mail = inbox.frame_locator("iframe")
    await expect(mail.get_by_role("heading", name="Hello Ada")).to_be_visible()
    async with inbox.expect_popup() as opened:
        await mail.get_by_role("link", name="Unsubscribe").click()
    page = await opened.value
    # A browser without a window, right after the delivery, looks like a scanner: it gets the button.
    await page.get_by_role("button", name="Unsubscribe").click()
    await expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
    await page.close()
    await inbox.close()


async def csv(console: Console) -> str:
    async with console.page.expect_download() as downloading:
        await console.button("Download CSV").click()
    download = await downloading.value
    assert download.suggested_filename == "april-newsletter-log.csv"
    return await text_of(download)
