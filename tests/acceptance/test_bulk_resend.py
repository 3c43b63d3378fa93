"""A portal reads why sends failed, sends them again with one request, and watches it until it is done."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.portal import Portal, eventually

REJECTED, DROPPED = "reject-550@example.com", "drop@example.com"
SUBJECT = "Sent again"


@pytest.fixture(scope="module")
def campaign_id(portal: Portal) -> str:
    return str(portal.launch("CUSTOMER", subject=SUBJECT)["id"])


def resend(portal: Portal, campaign_id: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Request it twice with one key; returns what matched, and the progress when it is done."""
    key = {"Idempotency-Key": f"again {campaign_id} {body}"}
    first, second = (portal.api.post(f"/campaigns/{campaign_id}/resend", json=body, headers=key) for _ in range(2))
    assert first.status_code == 202, first.text
    assert (second.status_code, second.content) == (202, first.content)
    accepted = first.json()
    assert accepted.keys() == {"id", "matching"}

    def done() -> dict[str, Any] | None:
        progress: dict[str, Any] = portal.api.get(f"/campaigns/{campaign_id}/resends/{accepted['id']}").json()
        return progress if progress["done"] else None

    return accepted["matching"], eventually(done)


def test_the_sends_with_a_reason_are_sent_again_once(portal: Portal, campaign_id: str) -> None:
    before = portal.stats(campaign_id)
    reasons = portal.api.get(f"/campaigns/{campaign_id}/reasons").json()["items"]
    rejected = sum(each["sends"] for each in reasons if each["reason"] == "REJECTED")
    assert rejected == before["failed"] > 0
    matching, progress = resend(portal, campaign_id, {"status": ["FAILED"], "reason": ["REJECTED"]})
    assert matching == rejected
    assert progress == {"matching": rejected, "accepted": rejected, "refused": {}, "done": True}
    portal.until_sent(campaign_id)
    # The relay refuses the address again.
    assert portal.send_to(campaign_id, REJECTED)["attempts"] == 2
    assert portal.stats(campaign_id)["failed"] == before["failed"]
    entries = portal.api.get("/audit", params={"campaignId": campaign_id, "limit": 2}).json()["items"]
    assert [entry["action"] for entry in entries] == ["resend-finished", "resent"]


def test_who_opted_out_meanwhile_is_left_out(portal: Portal, campaign_id: str) -> None:
    assert portal.send_to(campaign_id, DROPPED)["status"] == "UNCONFIRMED"
    mails = len(portal.mails(SUBJECT, to=DROPPED))
    portal.tick_opt_out(DROPPED, True)
    try:
        matching, progress = resend(portal, campaign_id, {"status": ["FAILED", "UNCONFIRMED"]})
    finally:
        portal.tick_opt_out(DROPPED, False)
    assert progress["refused"] == {"OPTED_OUT": 1}
    assert progress["accepted"] == matching - 1
    portal.until_sent(campaign_id)
    assert len(portal.mails(SUBJECT, to=DROPPED)) == mails
    assert portal.send_to(campaign_id, DROPPED)["status"] == "UNCONFIRMED"


def test_a_portal_is_told_what_cannot_be_sent_again(portal: Portal, campaign_id: str) -> None:
    draft = portal.save("LEAD")
    assert portal.api.post(f"/campaigns/{draft['id']}/resend", json={"status": ["FAILED"]}).status_code == 409
    refused = portal.api.post(f"/campaigns/{campaign_id}/resend", json={"status": ["DELIVERED"]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "status[0]"
    assert "FAILED" in refused.json()["errors"][0]["message"]
