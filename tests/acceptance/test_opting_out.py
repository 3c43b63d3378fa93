"""Opt out by the link in a real mail, and opt in again in the CRM."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import httpx

from tests.acceptance.portal import (
    BROWSER,
    SECONDS_OF_MACHINES,
    Portal,
    eventually,
    link_in,
    one_click,
    only,
    pixel_in,
)

ASK = "Unsubscribe from our emails?"
CONFIRMED = "You are unsubscribed"


def title(page: httpx.Response) -> str:
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    return only("<title>(.*?)</title>", page.text)


def mailed(portal: Portal, subject: str) -> dict[str, dict[str, Any]]:
    """The mails of a new campaign to the prospects, by address."""
    campaign_id = portal.launch("PROSPECT", subject=subject)["id"]
    mails = portal.mails(subject)
    assert len(mails) == portal.stats(campaign_id)["recipients"]
    return {mail["to"]: mail for mail in mails}


def has_opted_out(portal: Portal, email: str) -> bool:
    return all(contact["marketingOptOut"] for contact in portal.contacts(email=email))


def test_from_the_link_to_the_crm_and_back(portal: Portal) -> None:
    first = mailed(portal, "Before")
    email = "o'hara+news@example.net"
    link = link_in(first[email])
    assert email not in link

    # A scanner or a browser that only prefetches the link does not opt out, and neither does a scanner that behaves
    # like a browser right after the delivery.
    httpx.head(link).raise_for_status()
    for machine in (BROWSER | {"Sec-Purpose": "prefetch;prerender"}, {"User-Agent": "curl/8.9.1"}):
        assert title(httpx.get(link, headers=machine)) == ASK
    httpx.get(pixel_in(first[email]), headers=BROWSER).raise_for_status()
    assert title(httpx.get(link, headers=BROWSER)) == ASK
    sends = portal.log(portal.api.get("/campaigns", params={"limit": "1"}).json()["items"][0]["id"], q=email)
    assert [send["unsubscribedAt"] for send in sends] == [None]
    assert not has_opted_out(portal, email)

    time.sleep(SECONDS_OF_MACHINES)
    page = httpx.get(link, headers=BROWSER)
    assert title(page) == CONFIRMED
    assert email not in page.text
    assert "set-cookie" not in page.headers
    eventually(lambda: has_opted_out(portal, email))
    assert title(httpx.get(link, headers=BROWSER)) == CONFIRMED
    assert mailed(portal, "Afterwards").keys() == first.keys() - {email}

    portal.tick_opt_out(email, opted_out=False)
    assert mailed(portal, "Back again").keys() == first.keys()


def test_one_click_of_a_mail_program(portal: Portal) -> None:
    """RFC 8058: one POST without cookies gets a response that is no redirect, with any encoding of its body."""
    bodies: list[dict[str, Any]] = [
        {"data": {"List-Unsubscribe": "One-Click"}},
        {"files": {"List-Unsubscribe": (None, "One-Click")}},
        {},
    ]
    mails = sorted(mailed(portal, "One click").items())[: len(bodies)]
    for (_, mail), body in zip(mails, bodies, strict=True):
        response = httpx.post(one_click(mail), **body)
        assert title(response) == CONFIRMED
        assert "set-cookie" not in response.headers
    for email, _ in mails:
        eventually(partial(has_opted_out, portal, email))
        portal.tick_opt_out(email, opted_out=False)


def test_a_changed_link_is_not_found(portal: Portal) -> None:
    link = link_in(next(iter(mailed(portal, "Changed").values())))
    changed = link[:-1] + ("A" if link[-1] != "A" else "B")
    assert {httpx.get(changed).status_code, httpx.post(changed).status_code} == {404}
