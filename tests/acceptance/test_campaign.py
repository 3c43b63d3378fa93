"""One campaign to the customers, which include every special case: what each one gets, and what the API reports."""

from __future__ import annotations

import csv
import io
import re
from html import escape, unescape
from typing import Any

import httpx
import pytest

from tests.acceptance.portal import Portal, eventually, header, link_in, one_click, pixel_in

SUBJECT = "The customers' news"
REJECTED, DEFERRED, DROPPED = "reject-550@example.com", "defer-451@example.com", "drop@example.com"
TWICE = "family@example.com"

Customers = tuple[dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def customers(portal: Portal) -> Customers:
    """The campaign, which is SENT, and the contacts that were eligible in the CRM right before its launch."""
    eligible = portal.contacts(status="CUSTOMER", hasEmail="true", marketingOptOut="false")
    return portal.launch("CUSTOMER", subject=f"{SUBJECT}, {{{{firstName}}}}"), eligible


@pytest.fixture
def campaign_id(customers: Customers) -> str:
    return str(customers[0]["id"])


def test_the_inbox_holds_the_eligible_contacts_once_each(portal: Portal, customers: Customers) -> None:
    _, eligible = customers
    assert {REJECTED, DEFERRED, DROPPED, TWICE} <= {contact["email"] for contact in eligible}
    assert len(eligible) < len(portal.contacts(status="CUSTOMER"))
    # Two contacts share an address, which gets one mail. One address is refused. The inbox stores a mail even if it
    # drops the connection after it.
    mailed = {contact["email"] for contact in eligible} - {REJECTED}
    assert sorted(mail["to"] for mail in portal.mails(SUBJECT)) == sorted(mailed)


def test_the_reasons_say_why_the_others_got_nothing(portal: Portal, campaign_id: str) -> None:
    stats = portal.stats(campaign_id)
    reasons = portal.api.get(f"/campaigns/{campaign_id}/reasons").json()["items"]
    assert {"status": "FAILED", "reason": "REJECTED", "smtpCode": 550, "enhancedCode": "5.1.1", "sends": 1} in reasons
    assert {
        "status": "SKIPPED", "reason": "DUPLICATE", "smtpCode": None, "enhancedCode": None, "sends": 1
    } in reasons  # fmt: skip
    for status in ("FAILED", "SKIPPED", "DEFERRED"):
        assert sum(each["sends"] for each in reasons if each["status"] == status) == stats[status.lower()]


def test_names_are_inserted_unchanged_and_escaped_in_html(portal: Portal, customers: Customers) -> None:
    _, eligible = customers
    for contact in sorted(eligible, key=lambda contact: str(contact["id"]), reverse=True):
        if contact["email"] == REJECTED:
            continue
        first, last, company = (contact[name] or "" for name in ("firstName", "lastName", "companyName"))
        if contact["email"] == TWICE and first == "Jana":
            continue  # the lower contact id is mailed
        mail = portal.mail_to(contact["email"], SUBJECT)
        assert mail["subject"] == f"{SUBJECT}, {first}"
        assert f"Hello {first} {last} of {company}\n" in mail["text"]
        found = re.search(r"<p>Hello <i>(.*?)</i> of <em>(.*?)</em></p>", mail["html"])
        assert found is not None, mail["html"]
        assert (unescape(found[1]), unescape(found[2])) == (f"{first} {last}", company)
        assert not re.search(r"[<>\"']", found[1] + found[2])
    assert escape("<b>Brenda</b>") in portal.mail_to("brenda.bold@example.com", SUBJECT)["html"]


def test_every_mail_has_its_own_links_and_the_headers_of_bulk_mail(portal: Portal, customers: Customers) -> None:
    mails = portal.mails(SUBJECT)
    for own in (pixel_in, link_in, one_click, lambda mail: header(mail, "Message-ID")):
        assert len({own(mail) for mail in mails}) == len(mails)
    for mail in mails:
        assert header(mail, "From") == "Acme <news@acme.example>"
        assert header(mail, "To") == mail["to"]
        for name in ("Date", "List-Id", "Feedback-ID"):
            assert header(mail, name)
        assert mail["to"] not in link_in(mail) + pixel_in(mail) + one_click(mail)


def test_the_campaigns_name_is_in_no_mail(portal: Portal, customers: Customers) -> None:
    campaign, _ = customers
    for mail in portal.mails(SUBJECT):
        assert campaign["name"] not in portal.source(mail)
        assert "internal" not in portal.source(mail).lower()
    assert campaign["name"] not in httpx.get(link_in(portal.mails(SUBJECT)[0]), headers={"Purpose": "prefetch"}).text


def test_the_special_recipients_get_the_outcome_of_the_relays_reply(portal: Portal, campaign_id: str) -> None:
    rejected = portal.send_to(campaign_id, REJECTED)
    assert (rejected["status"], rejected["attempts"], rejected["sentAt"]) == ("FAILED", 1, None)
    assert (rejected["error"]["smtpCode"], rejected["error"]["enhancedCode"]) == (550, "5.1.1")
    deferred = portal.send_to(campaign_id, DEFERRED)
    assert (deferred["status"], deferred["attempts"]) == ("DELIVERED", 3)
    dropped = portal.send_to(campaign_id, DROPPED)
    assert (dropped["status"], dropped["attempts"]) == ("UNCONFIRMED", 1)
    first, second = portal.log(campaign_id, q=TWICE)
    assert {(send["contactId"], send["status"], send["reason"]) for send in (first, second)} == {
        ("contact-0000007", "DELIVERED", None),
        ("contact-0000008", "SKIPPED", "DUPLICATE"),
    }


def test_the_stats_add_up_and_equal_a_count_over_the_log(portal: Portal, customers: Customers) -> None:
    campaign, eligible = customers
    stats = portal.stats(campaign["id"])
    log = portal.log(campaign["id"])
    assert stats["recipients"] == len(log) == len(eligible)
    for name in ("queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed"):
        assert stats[name] == sum(send["status"] == name.upper() for send in log)
    assert (stats["failed"], stats["skipped"], stats["unconfirmed"]) == (1, 1, 1)
    for name, value in portal.api.get(f"/campaigns/{campaign['id']}").json()["stats"].items():
        assert value == stats[name]
    sent = portal.api.get("/stats").json()["sent"]
    assert sent == len([c for c in portal.api.get("/campaigns?limit=200").json()["items"] if c["status"] == "SENT"])


def test_the_csv_equals_the_log(portal: Portal, campaign_id: str) -> None:
    log = portal.log(campaign_id)
    contacts = {contact["id"]: contact for contact in portal.contacts()}
    response = portal.api.get(f"/campaigns/{campaign_id}/sends.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text.endswith("\r\n")
    assert len(response.text.split("\r\n")) == len(log) + 2
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert len(rows) == len(log)
    for row, send in zip(rows, log, strict=True):
        error = send.pop("error") or {}
        for name in ("firstName", "lastName", "companyName"):  # only the file has these and the next one
            assert row.pop(name) == (contacts[send["contactId"]][name] or "")
        assert row.pop("clickedAt") == ""
        flat = {name: "" if value is None else str(value) for name, value in send.items()}
        flat |= {
            "errorSmtpCode": str(error.get("smtpCode") or ""),
            "errorEnhancedCode": error.get("enhancedCode") or "",
            "errorMessage": error.get("message") or "",
        }
        assert row == flat
    failed = portal.api.get(f"/campaigns/{campaign_id}/sends.csv?status=FAILED").text
    assert [row["email"] for row in csv.DictReader(io.StringIO(failed, newline=""))] == [REJECTED]


def test_two_loads_of_a_pixel_are_one_open(portal: Portal) -> None:
    campaign_id = portal.launch("CHURNED", subject="To be opened")["id"]
    one, other, *_ = portal.mails("To be opened")
    pixel = pixel_in(one)
    httpx.head(pixel).raise_for_status()
    assert portal.stats(campaign_id)["opens"] == 0
    pictures = [httpx.get(pixel) for _ in range(2)]
    assert {(picture.status_code, picture.headers["cache-control"]) for picture in pictures} == {(200, "no-store")}
    stats = portal.stats(campaign_id)
    assert (stats["opens"], stats["openRate"]) == (1, 1 / stats["delivered"])
    send = portal.send_to(campaign_id, one["to"])
    assert send["openCount"] == 2
    assert send["openedAt"] < send["lastOpenedAt"]
    assert portal.send_to(campaign_id, other["to"])["openCount"] == 0


def test_only_a_failed_or_unconfirmed_send_can_be_resent(portal: Portal, campaign_id: str) -> None:
    def resend(send: dict[str, Any]) -> httpx.Response:
        return portal.api.post(f"/campaigns/{campaign_id}/sends/{send['id']}/resend")

    for send in portal.log(campaign_id):
        if send["status"] in {"DELIVERED", "SKIPPED"}:
            refused = resend(send)
            assert (refused.status_code, refused.json()["type"]) == (409, "/problems/wrong-state")

    rejected = portal.send_to(campaign_id, REJECTED)
    portal.tick_opt_out(REJECTED, opted_out=True)
    assert resend(rejected).status_code == 409
    portal.tick_opt_out(REJECTED, opted_out=False)
    for email, status in ((REJECTED, "FAILED"), (DROPPED, "UNCONFIRMED")):
        before = portal.send_to(campaign_id, email)
        again = resend(before)
        assert (again.status_code, again.json()["status"]) == (202, "QUEUED")
        portal.until_sent(campaign_id)
        after = portal.send_to(campaign_id, email)
        assert (after["status"], after["attempts"]) == (status, before["attempts"] + 1)
        assert after["sentAt"] == before["sentAt"]
    # The resend is the same message: its Message-ID is that of the first one.
    first, second = portal.mails(SUBJECT, to=DROPPED)
    for name in ("Message-ID", "Date", "List-Unsubscribe"):
        assert header(first, name) == header(second, name)
    assert len(portal.mails(SUBJECT)) == len({mail["to"] for mail in portal.mails(SUBJECT)}) + 1


def test_a_copy_is_a_draft_of_the_same_message_and_audience(portal: Portal, customers: Customers) -> None:
    original = portal.api.get(f"/campaigns/{customers[0]['id']}").json()
    made = portal.api.post(f"/campaigns/{original['id']}/duplicate")
    assert made.status_code == 201
    copy = portal.api.get(made.headers["location"].removeprefix("/api/marketing")).json()
    assert (copy["status"], copy["name"]) == ("DRAFT", f"Copy of {original['name']}")
    for same in ("fromName", "fromEmail", "replyTo", "subject", "htmlBody", "textBody", "audience"):
        assert copy[same] == original[same]
    assert copy["stats"]["recipients"] == 0
    edit = {"subject": "Another"}
    assert portal.api.patch(f"/campaigns/{copy['id']}", json=edit).json()["subject"] == "Another"
    assert portal.api.patch(f"/campaigns/{original['id']}", json=edit).status_code == 409
    assert portal.api.delete(f"/campaigns/{copy['id']}").status_code == 204


def test_the_preview_equals_the_mail_without_working_links(portal: Portal, customers: Customers) -> None:
    campaign, _ = customers
    brenda = portal.contact("brenda.bold@example.com")
    preview = portal.api.get(f"/campaigns/{campaign['id']}/preview", params={"contactId": brenda["id"]}).json()
    mail = portal.mail_to(brenda["email"], SUBJECT)
    assert preview["subject"] == mail["subject"]
    assert "<p>Hello <i>&lt;b&gt;Brenda&lt;/b&gt; Bold</i>" in preview["html"]
    assert "/pixel/" not in preview["html"]
    assert link_in(mail) not in preview["html"] + preview["text"]


def test_a_test_mail_goes_to_the_given_addresses_and_changes_no_stats(portal: Portal, campaign_id: str) -> None:
    draft = portal.save("CUSTOMER", subject="How does it look, {{firstName}}?")
    to = ["me@acme.example", "you@acme.example"]
    before = portal.api.get("/stats").json()
    assert portal.api.post(f"/campaigns/{draft['id']}/test", json={"to": to}).status_code == 202
    mails = eventually(lambda: found if len(found := portal.mails("How does it look")) == 2 else None)
    assert sorted(mail["to"] for mail in mails) == to
    assert all(mail["subject"].startswith("[Test] How does it look, ") for mail in mails)
    assert portal.stats(draft["id"])["recipients"] == 0
    assert portal.log(draft["id"]) == []
    assert portal.api.get(f"/campaigns/{draft['id']}").json()["status"] == "DRAFT"
    assert portal.api.get("/stats").json() == before
