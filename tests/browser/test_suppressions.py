"""The suppression list: add an address, import a CSV file, remove an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.console import text_of

if TYPE_CHECKING:
    from tests.acceptance.portal import Portal
    from tests.browser.console import Console

FILE = b"email,note\r\nfirst@example.org,by telephone\r\nsecond@example.org,\r\nnobody,\r\n"


async def test_an_address_is_added_found_and_removed(console: Console, portal: Portal) -> None:
    console.expected_errors.append("422 .*/suppressions")
    await console.log_in(path="/suppressions")
    await console.button("Suppress an address").click()
    await console.dialog.get_by_label("Email address").fill("nobody")
    await console.button("Suppress").click()
    await expect(console.dialog.locator(".wrong").first).not_to_be_empty()
    await console.dialog.get_by_label("Email address").fill("family@example.com")
    await console.dialog.get_by_label("Note").fill("asked by letter")
    await console.button("Suppress").click()
    row = console.page.get_by_role("row").filter(has_text="family@example.com")
    await expect(row).to_contain_text("asked by letter")
    await expect(row).to_contain_text("Added manually")

    # The send is skipped, and the email log shows the reason.
    campaign = portal.launch("CUSTOMER", name="Past the family")
    await console.open(f"/campaigns/{campaign['id']}/log?q=family")
    await expect(console.page.get_by_text("address is suppressed").first).to_be_visible()

    await console.open("/suppressions?q=fam")
    await console.button("Remove family@example.com").click()
    await expect(console.dialog).to_contain_text("can be mailed again")
    await console.button("Remove").click()
    await expect(console.page.get_by_text("No addresses match your filters.")).to_be_visible()


async def test_a_file_is_imported_and_its_invalid_lines_are_listed(console: Console) -> None:
    await console.log_in(path="/suppressions")
    await console.button("Import CSV").click()
    await console.dialog.get_by_label("CSV file").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": FILE}
    )
    await console.button("Import").click()
    await expect(console.page.get_by_text("2 addresses added, 0 already in the list.")).to_be_visible()
    await expect(console.page.get_by_text("Line 4: nobody")).to_be_visible()
    for address in ("first@example.org", "second@example.org"):
        await expect(console.page.get_by_role("row").filter(has_text=address)).to_have_count(1)
    async with console.page.expect_download() as downloading:
        await console.button("Download CSV").click()
    assert "first@example.org" in await text_of(await downloading.value)


async def test_show_more_appends_a_page_and_focuses_its_first_row(console: Console) -> None:
    """After "Show more", a keyboard user continues at the first new address."""
    await console.log_in(path="/suppressions")
    await console.button("Import CSV").click()
    many = b"email\r\n" + b"".join(b"crowd%02d@example.org\r\n" % number for number in range(60))
    await console.dialog.get_by_label("CSV file").set_input_files(
        {"name": "many.csv", "mimeType": "text/csv", "buffer": many}
    )
    await console.button("Import").click()
    await expect(console.page.get_by_text("60 addresses added, 0 already in the list.")).to_be_visible()
    await console.open("/suppressions?q=crowd")
    rows = console.page.get_by_role("row")
    await expect(rows).to_have_count(51)
    await console.button("Show more").click()
    await expect(rows).to_have_count(61)
    await expect(rows.nth(51).get_by_role("rowheader")).to_be_focused()
    await expect(console.button("Show more")).to_have_count(0)
