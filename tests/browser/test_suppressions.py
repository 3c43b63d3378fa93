"""The suppression list: add an address, import a CSV file, remove an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.browser.console import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

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
    await expect(console.page.get_by_text("Line 4: nobody The row has no email address.")).to_be_visible()
    for address in ("first@example.org", "second@example.org"):
        await expect(console.page.get_by_role("row").filter(has_text=address)).to_have_count(1)
    async with console.page.expect_download() as downloading:
        await console.button("Download CSV").click()
    assert "first@example.org" in await text_of(await downloading.value)


async def test_the_progress_of_a_large_file_is_shown_also_after_a_reload(
    console: Console, frozen_worker: Callable[[], AbstractContextManager[None]]
) -> None:
    """While the workers are stopped, the bar stands still. At the end the rows that were not taken are shown."""
    people = "".join(f'"Person {number}" <large{number}@example.org>;x\r\n' for number in range(20_000))
    bad = "".join(f"nobody {number};\r\n" for number in range(1_005))
    await console.log_in(path="/suppressions")
    with frozen_worker():
        await choose(console, ("E-Mail;Notiz\r\n" + bad + people).encode("utf-16"))
        bar = console.page.get_by_role("progressbar", name="Progress of the import")
        await expect(bar).to_have_attribute("max", "21005")
        await expect(console.page.get_by_text("0 of 21,005 rows done.")).to_be_visible()
        await console.page.reload()
        await expect(console.page.get_by_text("0 of 21,005 rows done.")).to_be_visible()
        # Somebody who comes back later sees it too: the address does not name the import.
        await console.open("/suppressions?q=large")
        await expect(console.page.get_by_text("0 of 21,005 rows done.")).to_be_visible()
        await expect(console.page.get_by_text("No addresses match your filters.")).to_be_visible()
    await expect(console.page.get_by_text("20,000 addresses added, 0 already in the list.")).to_be_visible()
    await expect(bar).to_have_count(0)
    await expect(console.page.get_by_role("row").filter(has_text="large")).to_have_count(50)
    await expect(console.page.get_by_text("1,005 rows were not taken:")).to_be_visible()
    await expect(console.page.get_by_text("Line 2: nobody 0 ")).to_be_visible()
    await console.page.get_by_text("Show 990 more rows").click()
    await expect(console.page.get_by_text("Line 1001: nobody 999 ")).to_be_visible()
    await expect(console.page.get_by_text("5 further rows are not listed.")).to_be_visible()
    await console.button("Close").click()
    await expect(console.page.get_by_text("rows were not taken")).to_have_count(0)


async def test_the_result_of_an_import_is_shown_again_when_the_page_is_reloaded(console: Console) -> None:
    await console.log_in(path="/suppressions")
    await choose(console, b"email\nreloaded@example.org\nreloaded@example.org\n")
    sum_of_it = "1 address added, 0 already in the list. 1 address is in the file more than once."
    await expect(console.page.get_by_text(sum_of_it)).to_be_visible()
    await expect(console.page).to_have_url(re.compile("import="))
    await console.page.reload()
    await expect(console.page.get_by_text(sum_of_it)).to_be_visible()
    await console.button("Close").click()
    await expect(console.page.get_by_text(sum_of_it)).to_have_count(0)
    await console.page.reload()
    await expect(console.button("Import CSV")).to_be_visible()
    await expect(console.page.get_by_text("reloaded@example.org")).to_be_visible()
    await expect(console.page.get_by_text(sum_of_it)).to_have_count(0)


async def test_a_file_that_cannot_be_read_is_refused_with_the_line(console: Console) -> None:
    console.expected_errors.append("422 .*/suppressions.csv")
    await console.log_in(path="/suppressions")
    await choose(console, b'email\nann@example.org\n"bob@example.org\n')
    await expect(console.dialog).to_contain_text("line 3: it has a quote that is not closed")


async def choose(console: Console, file: bytes) -> None:
    await console.button("Import CSV").click()
    await console.dialog.get_by_label("CSV file").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": file}
    )
    await console.button("Import").click()


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
