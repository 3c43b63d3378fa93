"""What a newcomer does with the console, from the log-in to the copy of what was sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.acceptance.portal import eventually

if TYPE_CHECKING:
    from playwright.async_api import Page

    from tests.acceptance.portal import Portal
    from tests.browser.console import Console

HTML = '<h1 style="color: rgb(36, 87, 197)">Hello </h1><p>How are things at {{ companyName }}?</p>'
READER = "ada.lovelace@example.com"


async def test_a_campaign_from_the_log_in_to_its_copy(console: Console, portal: Portal) -> None:
    page = console.page

    await console.log_in()
    await expect(console.heading("Campaigns")).to_be_visible()

    # Create, with what it looks like beside it, before anything is saved.
    await console.link("New campaign").first.click()
    await console.field("Name").fill("April newsletter")
    await console.field("From name").fill("Acme")
    await console.field("From email").fill("news@acme.example")
    await console.field("Subject").fill("News for {{ firstName }}")
    await console.field("HTML").fill(HTML)
    await console.field("HTML").evaluate(
        "(area, end) => area.setSelectionRange(end, end)", HTML.index("Hello ") + len("Hello ")
    )
    await console.button("First name").click()
    await expect(console.field("HTML")).to_have_value(HTML.replace("Hello ", "Hello {{ firstName }}"))
    await expect(console.mail().get_by_role("heading", name="Hello Alex")).to_have_css("color", "rgb(36, 87, 197)")
    await expect(page.locator(".mail-subject")).to_have_text("Subject News for Alex")
    await page.get_by_label("By status").check()
    await page.get_by_label("Customer").check()
    await expect(page.locator(".audience-now")).to_have_text(re.compile(r"^\d+ people would get it now\.$"))
    await console.button("Save draft").click()

    # The draft: looked at, and launched after one question.
    await expect(console.heading("April newsletter")).to_be_visible()
    await expect(page.locator(".title .badge")).to_have_text("Draft")
    await expect(console.mail().get_by_text("How are things at Sample & Sons?")).to_be_visible()
    await console.button("Launch campaign").click()
    people = await page.locator(".launch-count b").inner_text()
    await expect(console.dialog).to_contain_text("Contacts by status: Customer")
    await console.dialog.get_by_role("button", name="Launch campaign").click()

    # It is watched until it is sent.
    await expect(page.locator(".title .badge")).to_have_text("Sent")
    recipients = int(await console.figure("Recipients"))
    assert people == f"{recipients} people"
    failed = int(await console.figure("Failed"))
    assert failed == 2  # the one that is refused, and the one whose outcome nobody knows
    await expect(page.locator(".figure.danger")).to_have_attribute("title", "1 failed, 1 unconfirmed")
    await expect(page.get_by_role("heading", name="Deliveries and opens over time")).to_be_visible()

    # The mail, in the inbox; its link unsubscribes.
    inbox = await page.context.new_page()
    await read(inbox, portal.ready["inbox"])
    async with inbox.expect_popup() as opened:
        await inbox.frame_locator("iframe").get_by_role("link", name="Unsubscribe").click()
    await expect((await opened.value).get_by_role("heading", name="You are unsubscribed")).to_be_visible()

    # The log knows, and the CRM too.
    await console.link(re.compile(r"^Email log")).click()
    row = page.get_by_role("row").filter(has_text=READER)
    await expect(row).to_contain_text("Delivered")
    await expect(row).to_contain_text("unsubscribed")
    assert eventually(lambda: portal.contact(READER)["marketingOptOut"])
    portal.tick_opt_out(READER, opted_out=False)
    await page.get_by_label("Failed").check()
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("row").nth(1)).to_contain_text("reject-550@example.com")

    # Everything, as CSV.
    await page.get_by_label("Failed").uncheck()
    async with page.expect_download() as downloading:
        await console.button("Download CSV").click()
    download = await downloading.value
    assert download.suggested_filename == "april-newsletter-log.csv"
    lines = Path(await download.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + recipients
    assert any(READER in line for line in lines)

    # And again, as a new draft.
    await console.link("Overview").click()
    await console.button("Duplicate").click()
    await expect(console.heading("Copy of April newsletter")).to_be_visible()
    await expect(page.locator(".title .badge")).to_have_text("Draft")
    await console.link("Campaigns").first.click()
    sent = page.get_by_role("link", name=re.compile(rf"^April newsletter .*Sent.*{recipients}.*% open"))
    await expect(sent).to_be_visible()


async def read(inbox: Page, address: str) -> None:
    await inbox.goto(f"{address}/?to={READER}")
    await inbox.get_by_role("link", name=re.compile("News for Ada")).first.click()
    await expect(inbox.frame_locator("iframe").get_by_role("heading", name="Hello Ada")).to_be_visible()
