"""The service as its callers see it: the API, the CRM and the inbox, only over HTTP."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

T = TypeVar("T")

TIME_LIMIT = 120.0
"""Seconds. An idle machine needs far less for everything here."""
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
SECONDS_OF_MACHINES = 6.0
"""So long after the delivery, and after any other request of the message, a browser's request is a person's."""
MESSAGE: dict[str, Any] = {
    "name": "Quite internal name",
    "fromName": "Acme",
    "fromEmail": "news@acme.example",
    "subject": "News for {{firstName}}",
    "htmlBody": "<p>Hello <i>{{firstName}} {{lastName}}</i> of <em>{{companyName}}</em></p>",
    "textBody": "Hello {{firstName}} {{lastName}} of {{companyName}}",
}


@dataclass(frozen=True)
class Portal:
    """A portal, the CRM of its users and the mailboxes of its recipients."""

    ready: dict[str, Any]
    api: httpx.Client
    crm: httpx.Client
    inbox: httpx.Client

    def save(self, *statuses: str, **changes: Any) -> dict[str, Any]:
        """Create a draft for the contacts with these statuses, or for all contacts."""
        audience = {"type": "BY_STATUS", "statuses": list(statuses)} if statuses else {"type": "ALL"}
        made = self.api.post("/campaigns", json=MESSAGE | {"audience": audience} | changes)
        assert made.status_code == 201, made.text
        campaign: dict[str, Any] = made.json()
        return campaign

    def launch(self, *statuses: str, **changes: Any) -> dict[str, Any]:
        """Create and launch a campaign, and wait until it is SENT."""
        campaign = self.save(*statuses, **changes)
        launched = self.api.post(f"/campaigns/{campaign['id']}/launch")
        assert launched.status_code == 202, launched.text
        assert launched.json()["status"] == "SENDING"
        return self.until_sent(campaign["id"])

    def until_sent(self, campaign_id: str) -> dict[str, Any]:
        def sent() -> dict[str, Any] | None:
            campaign: dict[str, Any] = self.api.get(f"/campaigns/{campaign_id}").json()
            assert campaign["status"] in {"SENDING", "SENT"}, campaign
            return campaign if campaign["status"] == "SENT" else None

        return eventually(sent)

    def stats(self, campaign_id: str) -> dict[str, Any]:
        stats: dict[str, Any] = self.api.get(f"/campaigns/{campaign_id}/stats").json()
        return stats

    def log(self, campaign_id: str, **filters: str) -> list[dict[str, Any]]:
        """The complete email log, read page by page."""
        return list(self._pages(f"/campaigns/{campaign_id}/sends", {"limit": "7"} | filters))

    def send_to(self, campaign_id: str, email: str) -> dict[str, Any]:
        (send,) = self.log(campaign_id, q=email)
        return send

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        cursor: str | None = ""
        while cursor is not None:
            page = self.api.get(path, params=query | ({"cursor": cursor} if cursor else {})).json()
            yield from page["items"]
            cursor = page["nextCursor"]

    def contacts(self, **filters: str) -> list[dict[str, Any]]:
        """The contacts in the CRM; `filters` are those of its API."""
        page = self.crm.get("/contacts", params={"limit": "1000"} | filters).json()
        assert page["nextCursor"] is None
        contacts: list[dict[str, Any]] = page["items"]
        return contacts

    def contact(self, email: str) -> dict[str, Any]:
        (contact,) = self.contacts(email=email)
        return contact

    def tick_opt_out(self, email: str, opted_out: bool) -> None:
        for contact in self.contacts(email=email):
            changed = self.crm.patch(f"/contacts/{contact['id']}", json={"marketingOptOut": opted_out})
            assert changed.status_code == 200

    def mails(self, subject: str = "", **filters: str) -> list[dict[str, Any]]:
        """The mails whose subject contains this text, newest first."""
        found = self.inbox.get("/messages", params={"limit": "20000"} | filters).json()["items"]
        return [mail for mail in found if subject in mail["subject"]]

    def mail_to(self, email: str, subject: str) -> dict[str, Any]:
        (mail,) = self.mails(subject, to=email)
        return mail

    def source(self, mail: dict[str, Any]) -> str:
        return self.inbox.get(f"/messages/{mail['id']}/raw").text


def eventually(look: Callable[[], T | None]) -> T:
    """Call `look` until its result is true, and return the result. Fails after TIME_LIMIT."""
    deadline = time.monotonic() + TIME_LIMIT
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not seen within {TIME_LIMIT:g} s"
        time.sleep(0.1)
    return seen


def pixel_in(mail: dict[str, Any]) -> str:
    """The URL of the tracking pixel in the mail."""
    return only(r'<img [^>]*src="([^"]+/pixel/[^"]+)"', mail["html"])


def link_in(mail: dict[str, Any]) -> str:
    """The unsubscribe link in the bodies. It is the same in both."""
    link = only(r'href="([^"]+/unsubscribe/[^"]+)"', mail["html"])
    assert link in mail["text"]
    return link


def header(mail: dict[str, Any], name: str) -> str:
    (value,) = (value for key, value in mail["headers"] if key.lower() == name.lower())
    return str(value)


def one_click(mail: dict[str, Any]) -> str:
    """The unsubscribe URL for mail programs (RFC 8058)."""
    assert header(mail, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    return only(r"^<([^>]+)>$", header(mail, "List-Unsubscribe"))


def only(pattern: str, text: str) -> str:
    (found,) = set(re.findall(pattern, text))
    return str(found)
