"""Schedules: a draft is scheduled, changed and launched at its time, by mouse and by keyboard."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import expect

from tests.acceptance.portal import eventually
from tests.browser.axe import check
from tests.browser.console import tab_to
from tests.support.local_times import next_skipped_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.async_api import Locator

    from tests.acceptance.portal import Portal
    from tests.browser.conftest import Visit
    from tests.browser.console import Console

PARIS, TOKYO = "Europe/Paris", "Asia/Tokyo"
PHONE, DESKTOP = 390, 1440


def schedule(portal: Portal, campaign: dict[str, Any], at: datetime, zone: str) -> None:
    """Schedule the campaign for a moment, which is written as a local time of the zone."""
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat()
    portal.api.post(f"/campaigns/{campaign['id']}/schedule", json={"at": local, "timeZone": zone}).raise_for_status()


def tomorrow() -> datetime:
    return (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)


def written(moment: datetime, zone: str) -> str:
    """The moment as the console writes it."""
    local = moment.astimezone(ZoneInfo(zone))
    month = "Sept" if local.month == 9 else f"{local:%b}"
    return f"{local.day} {month} {local:%Y, %H:%M} ({zone})"


def state(portal: Portal, campaign: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = portal.api.get(f"/campaigns/{campaign['id']}").json()
    return found


def moment_in(found: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(found["scheduledAt"])


def notice(console: Console) -> Locator:
    return console.page.locator(".notices .notice")


def badge(console: Console) -> Locator:
    return console.page.locator(".title .badge")


async def open_schedule(console: Console) -> None:
    """Opens the dialog and chooses Schedule."""
    await console.button("Launch campaign").click()
    await console.dialog.get_by_role("radio", name="Schedule").check()


async def test_a_draft_is_scheduled_changed_and_unscheduled_with_the_keyboard_only(
    visit: Visit, portal: Portal
) -> None:
    campaign = portal.save("LEAD", name="Later by keyboard")
    console = await visit(time_zone=PARIS)
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    press = console.page.keyboard.press
    heading, at = console.heading("Later by keyboard"), console.page.get_by_label("Date and time")
    await expect(heading).to_be_visible()

    await tab_to(console, "Launch campaign")
    await press("Enter")
    await expect(console.dialog.get_by_role("radio", name="Send now")).to_be_focused()
    await expect(at).to_be_hidden()
    await press("ArrowDown")
    await expect(console.dialog.get_by_role("radio", name="Schedule")).to_be_checked()
    await expect(at).to_have_value(re.compile("T09:00$"))
    await expect(console.page.get_by_label("Time zone")).to_have_value(PARIS)
    await tab_to(console, "Time zone")
    await press("Control+A")
    await console.page.keyboard.type(TOKYO)
    local = datetime.fromisoformat(await at.input_value())
    await press("Enter")
    await expect(console.dialog).to_have_count(0)
    await expect(heading).to_be_focused()
    await expect(badge(console)).to_have_text("Scheduled")
    found = state(portal, campaign)
    assert (found["status"], found["scheduledTimeZone"]) == ("DRAFT", TOKYO)
    assert moment_in(found) == local.replace(tzinfo=ZoneInfo(TOKYO))
    await expect(notice(console)).to_contain_text(f"Scheduled for {written(moment_in(found), TOKYO)}.")
    await expect(notice(console)).to_contain_text(f"In your time zone: {written(moment_in(found), PARIS)}.")

    await tab_to(console, "Change")
    await press("Enter")
    await expect(console.dialog.get_by_role("radio", name="Schedule")).to_be_checked()
    await expect(console.dialog.get_by_role("radio", name="Schedule")).to_be_focused()
    await expect(at).to_have_value(local.isoformat(timespec="minutes"))
    await tab_to(console, "Date and time")
    for _ in range(4):  # over the date and the hour
        await press("ArrowRight")
    await press("ArrowUp")
    changed = local.replace(minute=1, tzinfo=ZoneInfo(TOKYO))
    await expect(at).to_have_value(f"{changed:%Y-%m-%dT09:01}")
    await press("Enter")
    await expect(notice(console)).to_contain_text(f"Scheduled for {written(changed, TOKYO)}.")
    await expect(console.dialog).to_have_count(0)
    assert moment_in(state(portal, campaign)) == changed

    await tab_to(console, "Remove schedule")
    await press("Enter")
    await expect(badge(console)).to_have_text("Draft")
    await expect(notice(console)).to_have_count(0)
    await expect(heading).to_be_focused()
    assert state(portal, campaign)["scheduledAt"] is None


async def test_each_error_is_at_its_field_in_plain_words(visit: Visit, portal: Portal) -> None:
    campaign = portal.save("LEAD", name="Wrong times")
    console = await visit(time_zone="Europe/London")
    console.expected_errors.append("422 .*/schedule")
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await open_schedule(console)
    at, zone = console.page.get_by_label("Date and time"), console.page.get_by_label("Time zone")
    wrong = console.dialog.locator(".field.invalid")

    async def refused(field: Locator, *texts: str) -> None:
        await console.button("Schedule campaign").click()
        for text in texts:
            await expect(wrong.locator(".wrong")).to_contain_text(text)
        await expect(field).to_be_focused()
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(console.dialog.get_by_role("alert")).to_have_text("Correct the marked fields.")

    skipped = next_skipped_time("Europe/London")
    following = skipped.replace(hour=2, minute=0)
    await at.fill(skipped.isoformat(timespec="minutes"))
    await refused(
        at,
        "This time does not exist in Europe/London, because the clocks skip it.",
        f"The next local time that exists is {following.day} {following:%b %Y}, 02:00.",
    )
    await zone.fill("Europe/Lodnon")
    await refused(zone, "This is not the name of a time zone. Use Europe/London?")
    await zone.fill("")
    await refused(zone, "This field is required.")
    await zone.fill(TOKYO)
    await at.fill("2020-01-01T09:00")
    await refused(at, "This time must be in the future. It is ", f"({TOKYO}) now.")
    await at.fill("2099-01-01T09:00")
    await refused(at, "This time must be at most a year ahead: at ", f"({TOKYO}) or before.")
    await at.fill("")
    await refused(at, "Enter a date and a time.")
    assert state(portal, campaign)["scheduledAt"] is None

    moment = tomorrow()
    await at.fill(f"{moment.astimezone(ZoneInfo('Europe/London')):%Y-%m-%dT%H:%M}")
    await zone.fill("Europe/London")
    await console.button("Schedule campaign").click()
    await expect(notice(console)).to_contain_text(f"Scheduled for {written(moment, 'Europe/London')}.")
    await expect(notice(console)).not_to_contain_text("In your time zone")


async def test_the_list_and_the_campaign_follow_a_scheduled_launch(
    visit: Visit, portal: Portal, frozen_worker: Callable[[], AbstractContextManager[None]]
) -> None:
    campaign = portal.save("LEAD", name="At its time")
    moment = tomorrow()
    schedule(portal, campaign, moment, TOKYO)
    listed, opened = await visit(), await visit(time_zone=PARIS)
    await listed.log_in()
    row = listed.page.locator(f'.rows li[data-id="{campaign["id"]}"]')
    await expect(row.locator(".badge")).to_have_text("Scheduled")
    await expect(row).to_contain_text(f"For {written(moment, TOKYO)}")
    with frozen_worker():
        schedule(portal, campaign, datetime.now(UTC) + timedelta(seconds=1), TOKYO)
        await listed.page.reload()
        await opened.log_in(path=f"/campaigns/{campaign['id']}")
        await expect(row.locator(".badge")).to_have_text("Scheduled")
        await expect(badge(opened)).to_have_text("Scheduled")
    await expect(badge(opened)).to_have_text("Sent")
    await expect(opened.page.locator(".facts")).to_contain_text("Scheduled for")
    await expect(row.locator(".badge")).to_have_text("Sent")


async def test_a_launch_that_did_not_happen_says_why_and_what_to_do(console: Console, portal: Portal) -> None:
    campaign = portal.save("LEAD", name="Without a message", htmlBody=None, textBody=None)
    schedule(portal, campaign, datetime.now(UTC) + timedelta(seconds=1), TOKYO)
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await expect(badge(console)).to_have_text("Draft, not launched")
    await expect(notice(console)).to_contain_text("The scheduled launch did not happen. Nothing was sent.")
    await expect(notice(console)).to_contain_text("HTML is empty, and plain text is empty too.")
    await expect(notice(console)).to_contain_text("Correct the draft, then schedule it again or send it now.")
    await expect(notice(console)).not_to_contain_text(re.compile("htmlBody|textBody"))
    await console.button("Schedule again").click()
    await expect(console.dialog.get_by_role("radio", name="Schedule")).to_be_checked()
    await console.dialog.get_by_role("button", name="Cancel").click()
    await expect(console.button("Schedule again")).to_be_focused()
    await console.button("Dismiss").click()
    await expect(notice(console)).to_have_count(0)
    await expect(badge(console)).to_have_text("Draft")
    assert state(portal, campaign)["scheduleProblem"] is None


async def test_sending_now_says_that_it_replaces_the_schedule(console: Console, portal: Portal) -> None:
    campaign = portal.save("LEAD", name="Not so late")
    moment = tomorrow()
    schedule(portal, campaign, moment, TOKYO)
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Launch campaign").click()
    replaces = console.dialog.get_by_text("Sending now replaces the schedule")
    await expect(replaces).to_be_visible()
    await expect(console.dialog).to_contain_text(f"for {written(moment, TOKYO)}.")
    await console.dialog.get_by_role("radio", name="Schedule").check()
    await expect(replaces).to_have_count(0)
    await console.dialog.get_by_role("radio", name="Send now").check()
    await console.dialog.get_by_role("button", name="Launch campaign").click()
    await expect(badge(console)).to_have_text("Sent")
    assert state(portal, campaign)["scheduledAt"] is None


async def test_a_schedule_warns_of_the_errors_that_the_check_found(console: Console, portal: Portal) -> None:
    campaign = portal.save("LEAD", name="Wrong later", subject="{{ firstName }}")  # one contact has no first name
    await console.log_in(path=f"/campaigns/{campaign['id']}")
    await console.button("Check now").click()
    await expect(console.page.locator(".findings li").filter(has_text="Error")).to_have_count(1)
    await console.button("Launch campaign").click()
    despite = console.dialog.get_by_label("Launch despite the errors that the check found")
    await expect(despite).to_be_visible()
    await console.dialog.get_by_role("radio", name="Schedule").check()
    await expect(despite).to_be_hidden()
    await expect(console.dialog).to_contain_text("The check found 1 error. Correct the draft before")


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE)])
async def test_the_screens_of_a_schedule_are_accessible(visit: Visit, portal: Portal, scheme: str, width: int) -> None:
    scheduled, failed = portal.save(name="Scheduled"), portal.save(htmlBody=None, textBody=None, name="Failed")
    schedule(portal, scheduled, tomorrow(), TOKYO)
    schedule(portal, failed, datetime.now(UTC) + timedelta(seconds=1), TOKYO)
    assert eventually(lambda: state(portal, failed)["scheduleProblem"])
    console = await visit(scheme=scheme, width=width, time_zone=PARIS)
    console.expected_errors.append("422 .*/schedule")
    await console.log_in()
    await expect(console.page.locator(".badge.scheduled").first).to_be_visible()
    await check(console, "list")
    await console.open(f"/campaigns/{failed['id']}")
    await expect(console.button("Schedule again")).to_be_visible()
    await check(console, "failed schedule")
    await console.open(f"/campaigns/{scheduled['id']}")
    await expect(console.button("Change")).to_be_visible()
    await check(console, "scheduled")
    await console.button("Launch campaign").click()
    await expect(console.page.locator(".launch-count b")).to_be_visible()
    await check(console, "send now")
    await console.dialog.get_by_role("radio", name="Schedule").check()
    await console.page.get_by_label("Time zone").fill("Europe/Lodnon")
    await console.button("Schedule campaign").click()
    await expect(console.dialog.locator(".field.invalid")).to_have_count(1)
    await check(console, "schedule with an error")
