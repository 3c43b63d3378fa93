"""The form: errors at their fields, a preview that runs no scripts, and no accidental loss of changes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

if TYPE_CHECKING:
    from playwright.async_api import Route

    from tests.acceptance.portal import Portal
    from tests.browser.console import Console

PICTURE = "https://pictures.example/logo.png"
HOSTILE = f"""<p id="shown" style="font-weight: 700" onclick="top.ran = 1">Hello</p>
<script>top.ran = 1</script><img src="data:," onerror="top.ran = 1"><a href="javascript:top.ran = 1">link</a>
<svg onload="top.ran = 1"></svg><form action="/api"><button>send</button></form>
<meta http-equiv="refresh" content="0;url=https://elsewhere.example/"><base href="https://elsewhere.example/">
<img src="{PICTURE}" alt="Logo"><link rel="stylesheet" href="https://elsewhere.example/a.css">"""


async def test_each_error_is_shown_at_its_field_and_the_first_gets_the_focus(console: Console) -> None:
    console.expected_errors.append("422 .*")
    await console.log_in(path="/campaigns/new")
    await console.field("Subject").fill("Hello {{ nickname }}")
    await console.field("From email").fill("nobody")
    await console.field("HTML").fill("{% if %}")
    await console.field("Name").fill("   ")
    await console.button("Save draft").click()
    await expect(console.page.get_by_role("alert")).to_contain_text("Not saved. Correct the marked fields.")
    await expect(console.field("Name")).to_be_focused()
    for name in ("Name", "From email", "Subject", "HTML"):
        await expect(console.field(name)).to_have_attribute("aria-invalid", "true")
    for name in ("From name", "Reply to", "Plain text"):
        await expect(console.field(name)).not_to_have_attribute("aria-invalid", "true")
    described = re.compile("email address.* Leave empty to use the default address of your installation.$")
    await expect(console.field("From email")).to_have_accessible_description(described)


async def test_an_empty_choice_of_statuses_is_an_error_at_the_recipients(console: Console) -> None:
    console.expected_errors.append("422 .*")
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("To nobody")
    await console.field("Subject").fill("Hello")
    await console.page.get_by_label("By status").check()
    await expect(console.page.locator(".audience-now")).to_have_text("No one would receive this campaign now.")
    await console.button("Save draft").click()
    await expect(console.page.locator(".recipients .wrong")).to_have_text("Choose at least one status.")


async def test_a_mail_runs_no_scripts_and_loads_images_only_on_request(console: Console) -> None:
    console.expected_errors += [
        "Content Security Policy",
        "Blocked script execution",
        "Refused to execute the redirect",
        "Blocked form",
    ]
    requested: list[str] = []

    async def elsewhere(route: Route) -> None:
        requested.append(route.request.url)
        await route.fulfill(status=200, content_type="image/svg+xml", body='<svg xmlns="http://www.w3.org/2000/svg"/>')

    await console.page.context.route("https://*.example/**", elsewhere)
    await console.log_in(path="/campaigns/new")
    await console.field("HTML").fill(HOSTILE)
    mail = console.mail()
    await expect(mail.locator("#shown")).to_have_css("font-weight", "700")
    await mail.locator("#shown").click()
    await mail.get_by_role("button", name="send").click()
    await expect(mail.get_by_alt_text("Logo")).to_be_attached()
    assert requested == []
    await console.page.get_by_label("Load images").check()
    await expect(mail.get_by_alt_text("Logo")).to_be_attached()
    await console.page.wait_for_function(
        "document.querySelector('.stage iframe').contentDocument.querySelector('[alt=Logo]').complete"
    )
    assert requested == [PICTURE]
    assert await console.page.evaluate("window.ran") is None
    await mail.get_by_role("link", name="link").click()
    assert await console.page.evaluate("window.ran") is None
    await expect(mail.locator("#shown")).to_be_visible()


async def test_the_preview_shows_the_mobile_width_and_the_plain_text(console: Console) -> None:
    await console.log_in(path="/campaigns/new")
    await console.field("HTML").fill("<p>Hello {{ firstName }}</p>")
    await expect(console.mail().get_by_text("Hello Alex")).to_be_visible()
    await console.page.get_by_role("radio", name="Mobile").check()
    await expect(console.page.locator(".stage iframe")).to_have_css("width", "375px")
    await console.page.get_by_role("radio", name="Plain text").check()
    await expect(console.page.locator("pre.plain")).to_contain_text("Hello Alex")
    await expect(console.page.locator(".stage iframe")).to_be_hidden()


async def test_the_preview_can_be_shown_for_a_real_recipient(console: Console) -> None:
    await console.log_in(path="/campaigns/new")
    await console.field("HTML").fill("<p>Hello {{ firstName }} of {{ companyName }}</p>")
    await expect(console.page.locator(".audience-now")).to_contain_text("people would receive this campaign now")
    await console.page.get_by_label("Preview as").focus()
    await console.page.get_by_label("Preview as").select_option("Ada Lovelace")
    await expect(console.mail().get_by_text("Hello Ada of Analytical Engines Ltd")).to_be_visible()


async def test_the_preheader_is_shown_after_the_subject_and_hidden_in_the_message(
    console: Console, portal: Portal
) -> None:
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("With a preheader")
    await console.field("Subject").fill("News")
    await console.field("Preheader").fill("Only for {{ firstName }} & Co")
    await console.field("HTML").fill("<p>Hello</p>")
    await expect(console.page.locator(".mail-subject")).to_have_text("Subject News — Only for Alex & Co")
    await expect(console.mail().locator("[data-preheader]")).to_be_hidden()
    await console.field("Preheader").fill("")
    await expect(console.page.locator(".mail-subject")).to_have_text("Subject News")
    await console.field("Preheader").fill("Read this")
    await console.button("Save draft").click()
    await expect(console.page.locator(".facts")).to_contain_text("Read this")
    (saved,) = portal.api.get("/campaigns", params={"q": "With a preheader"}).json()["items"]
    assert saved["preheader"] == "Read this"


async def test_an_invalid_preheader_is_an_error_at_its_field(console: Console) -> None:
    console.expected_errors.append("422 .*")
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("Wrong")
    await console.field("Subject").fill("News")
    await console.field("Preheader").fill("{{ nickname }}")
    await console.button("Save draft").click()
    await expect(console.field("Preheader")).to_be_focused()
    await expect(console.field("Preheader")).to_have_attribute("aria-invalid", "true")
    await expect(console.field("Subject")).not_to_have_attribute("aria-invalid", "true")


async def test_the_footer_is_in_the_chosen_language(console: Console, portal: Portal) -> None:
    await console.log_in(path="/campaigns/new")
    await console.field("Name").fill("Auf Deutsch")
    await console.field("Subject").fill("Hallo")
    await console.field("HTML").fill("<p>Hallo</p>")
    language = console.page.get_by_role("combobox", name="Language", exact=True)
    await expect(language).to_have_value("")
    await expect(console.mail().get_by_role("link", name="Unsubscribe")).to_be_visible()
    await language.select_option("Deutsch")
    await expect(console.mail().get_by_role("link", name="Abmelden")).to_be_visible()
    await console.button("Save draft").click()
    await expect(console.page.locator(".facts")).to_contain_text("Deutsch")
    (saved,) = portal.api.get("/campaigns", params={"q": "Auf Deutsch"}).json()["items"]
    assert saved["language"] == "de"
    await console.link("Edit").click()
    await expect(language).to_have_value("de")
    await expect(language.get_by_role("option")).to_have_text(["English", "Deutsch", "Français", "Español"])


async def test_an_unsubscribe_link_of_the_author_replaces_the_footer(console: Console) -> None:
    await console.log_in(path="/campaigns/new")
    await console.field("HTML").fill('<p><a href="">leave</a></p>')
    await expect(console.mail().get_by_role("link", name="Unsubscribe")).to_be_visible()
    await console.field("HTML").evaluate("area => area.setSelectionRange(12, 12)")
    await console.button("Unsubscribe link").click()
    await expect(console.field("HTML")).to_have_value('<p><a href="{{ unsubscribeUrl }}">leave</a></p>')
    await expect(console.mail().get_by_role("link", name="leave")).to_have_attribute("href", "#")
    await expect(console.mail().get_by_role("link", name="Unsubscribe")).to_have_count(0)


@pytest.mark.parametrize("way", ["link", "back"])
async def test_leaving_with_unsaved_changes_asks_first(console: Console, portal: Portal, way: str) -> None:
    campaign = portal.save(name="To be changed")
    await console.log_in()
    await console.page.goto(f"{console.origin}/marketing/campaigns/{campaign['id']}")
    await console.link("Edit").click()
    await expect(console.heading("Edit To be changed")).to_be_visible()
    await console.field("Subject").fill("Changed")

    async def leave() -> None:
        await (console.link("Suppressions").click() if way == "link" else console.page.go_back())

    await leave()
    await expect(console.dialog).to_contain_text("Leave without saving?")
    await console.button("Keep editing").click()
    await expect(console.field("Subject")).to_have_value("Changed")
    assert console.page.url.endswith("/edit")
    await leave()
    await console.button("Discard changes").click()
    await expect(console.heading("Suppressions" if way == "link" else "To be changed")).to_be_visible()
    assert portal.api.get(f"/campaigns/{campaign['id']}").json()["version"] == 1


async def test_changes_of_another_user_are_not_overwritten_without_a_warning(console: Console, portal: Portal) -> None:
    console.expected_errors.append("412 .*")
    campaign = portal.save(name="Wanted by two")
    await console.log_in(path=f"/campaigns/{campaign['id']}/edit")
    await console.field("Subject").fill("Mine")
    portal.api.patch(f"/campaigns/{campaign['id']}", json={"subject": "Theirs"}).raise_for_status()
    await console.button("Save").click()
    await expect(console.page.get_by_role("alert")).to_contain_text("Not saved.")
    await console.button("Show saved version").click()
    await expect(console.page.get_by_role("alert")).to_contain_text("Theirs")
    await console.button("Save").click()
    await expect(console.heading("Wanted by two")).to_be_visible()
    saved = portal.api.get(f"/campaigns/{campaign['id']}").json()
    assert (saved["subject"], saved["fromEmail"]) == ("Mine", campaign["fromEmail"])
