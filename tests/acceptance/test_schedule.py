"""A portal schedules a campaign, changes it, removes the schedule, and sees it launched at its time."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tests.acceptance.portal import Portal, eventually
from tests.support.local_times import next_skipped_time

SUBJECT = "Scheduled news"


def test_a_campaign_is_launched_at_its_local_time(portal: Portal) -> None:
    campaign = portal.save("LEAD", subject="To be changed")
    local = (datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(seconds=3)).replace(tzinfo=None)
    address = f"/campaigns/{campaign['id']}/schedule"
    scheduled = portal.api.post(address, json={"at": local.isoformat(), "timeZone": "Asia/Tokyo"})
    assert scheduled.status_code == 200, scheduled.text
    assert scheduled.json()["status"] == "DRAFT"
    assert scheduled.json()["scheduledTimeZone"] == "Asia/Tokyo"
    # It can still be edited, until the last moment.
    changed = portal.api.patch(
        f"/campaigns/{campaign['id']}", json={"subject": SUBJECT}, headers={"If-Match": scheduled.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text

    def launched() -> dict[str, object] | None:
        found: dict[str, object] = portal.api.get(f"/campaigns/{campaign['id']}").json()
        return found if found["status"] != "DRAFT" else None

    eventually(launched)
    sent = portal.until_sent(campaign["id"])
    assert sent["scheduledAt"] == scheduled.json()["scheduledAt"]
    assert sent["launchedAt"] >= sent["scheduledAt"]
    assert portal.mails(SUBJECT)
    entries = portal.api.get(
        "/audit", params={"campaignId": campaign["id"], "action": ["scheduled", "launched"]}
    ).json()
    assert [(entry["actor"] == "system", entry["action"]) for entry in entries["items"]] == [
        (True, "launched"),
        (False, "scheduled"),
    ]
    assert portal.api.post(address, json={"at": local.isoformat(), "timeZone": "Asia/Tokyo"}).status_code == 409


def test_a_portal_is_told_which_time_would_be_right_and_why_a_launch_did_not_happen(portal: Portal) -> None:
    campaign = portal.save("LEAD", htmlBody=None, textBody=None)
    address = f"/campaigns/{campaign['id']}/schedule"
    skipped = next_skipped_time("Europe/London")
    refused = portal.api.post(address, json={"at": skipped.isoformat(), "timeZone": "Europe/London"})
    assert refused.status_code == 422
    assert f"{(skipped + timedelta(minutes=30)).isoformat()}." in refused.json()["errors"][0]["message"]

    at = datetime.now(ZoneInfo("UTC")) + timedelta(seconds=1)
    assert portal.api.post(address, json={"at": at.isoformat()}).status_code == 200

    def problem() -> dict[str, str] | None:
        found: dict[str, str] | None = portal.api.get(f"/campaigns/{campaign['id']}").json()["scheduleProblem"]
        return found

    found = eventually(problem)
    assert found["code"] == "REFUSED"
    assert "htmlBody" in found["message"]
    removed = portal.api.delete(address).json()
    assert (removed["status"], removed["scheduleProblem"]) == ("DRAFT", None)
