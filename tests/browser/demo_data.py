"""Demo data for the screenshots: campaigns in each state, one of them with several days of opens and clicks.

The data is created with the API where possible. Times in the past are written into the database.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.acceptance.portal import Portal

OPENED, CLICKED, UNSUBSCRIBED, MACHINES = 0.78, 0.31, 5, 14
_KINDS = {"delivered": 0.05, "opens": 5, "clicks": 6, "unsubscribes": 7}
"""The columns of the timeline, and the mean time after the launch in hours."""
_PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
_MACHINE = "Mozilla/5.0"  # the exact user agent of Apple's proxy
HTML = """\
<div style="max-width: 600px; margin: 0 auto; font: 16px/1.5 Arial, sans-serif; color: #1c2330">
  <h1 style="margin: 0; padding: 24px 32px; background: #17416b; color: #fff; font-size: 24px">Spring at Acme</h1>
  <div style="padding: 8px 32px 24px; border: 1px solid #dfe3e9; border-top: 0">
    <p>Hello {{ firstName | default: "there" }},</p>
    <p>the days grow longer, and so does our list of news: three new models, a warehouse that is open on
    Saturdays, and a visit to our workshop in May.</p>
    <p style="margin: 24px 0">
      <a href="https://acme.example/spring" style="padding: 12px 20px; border-radius: 6px; background: #c2410c;
        color: #fff; text-decoration: none">See what is new</a></p>
    <p>If May is too late, <a href="https://acme.example/visit" style="color: #17416b">choose a day</a> that suits
    {{ companyName | default: "you" }}.</p>
    <p>Yours,<br>the people of Acme</p>
  </div>
</div>"""
_SENDER = {"fromName": "Acme", "fromEmail": "news@acme.example", "textBody": None}
_NEWSLETTER = _SENDER | {
    "subject": "Spring news for {{ firstName }}",
    "preheader": "Three new models, and a visit to our workshop",
    "htmlBody": HTML,
}
_OLDER = (
    ("March newsletter", "Three things we have learnt this winter", ["CUSTOMER"], 0.64, 27),
    ("Workshop in Lyon", "You are invited", ["PROSPECT"], 0.41, 41),
    ("New year, new prices", "Our price list for the year", ["LEAD", "PROSPECT"], 0.52, 63),
)
_SUPPRESSIONS = (
    ("jan.oud@example.org", "left the company"),
    ("sales@competitor.example", None),
    ("old.address@example.com", "moved to another address"),
)
_FILE = "email,note\ncomplaints@example.net,asked us by telephone\nno.more@example.org,\n"
_BOUNCED = """
INSERT INTO marketing_suppressions (org_id, address, reason, origin, campaign_id)
VALUES ('acme', 'gone.away@example.net', 'HARD_BOUNCE', 'REPORT', $1), ('acme', 'full@example.org', 'SOFT_BOUNCES',
    'REPORT', $1)
"""

_AGE = """
UPDATE marketing_campaigns SET created_at = created_at - $2::interval, launched_at = launched_at - $2::interval,
    expanded_at = expanded_at - $2::interval, sent_at = sent_at - $2::interval WHERE id = $1
"""
_AGE_SENDS = """
UPDATE marketing_sends SET queued_at = queued_at - $2::interval, sent_at = sent_at - $2::interval
WHERE campaign_id = $1
"""
_FAIL = """
UPDATE marketing_campaigns
SET status = 'FAILED', created_at = now() - interval '3 days', launched_at = now() - interval '3 days',
    failure_code = 'AUDIENCE_UNAVAILABLE', failure_message = 'The CRM did not answer for 30 minutes.' WHERE id = $1
"""


async def create(portal: Portal) -> dict[str, str]:
    """Creates the data. Returns the ids of the campaigns `draft`, `sending`, `sent` and `failed`."""
    dice = random.Random(8)
    ledger = await asyncpg.connect(portal.ready["databaseUrl"])
    for name, subject, statuses, share, days in reversed(_OLDER):
        campaign = portal.launch(*statuses, **_SENDER, name=name, subject=subject, htmlBody=HTML)
        await _age(ledger, campaign["id"], f"{days} days")
        _open(portal, _some(dice, portal.mails(subject), share))
    failed = portal.save(**(_NEWSLETTER | {"subject": "What changes in May"}), name="Price list, second try")["id"]
    await ledger.execute(_FAIL, failed)

    sent = portal.launch(**_NEWSLETTER, name="April newsletter", trackClicks=True)["id"]
    await _age(ledger, sent, "31 hours")
    mails = portal.mails("Spring news")
    opened = _some(dice, mails, OPENED)
    _open(portal, opened)
    _open(portal, [mail for mail in mails if mail not in opened][:MACHINES], agent=_MACHINE)
    _follow(_links(_some(dice, opened, CLICKED / OPENED), dice))
    _press_unsubscribe(opened[:UNSUBSCRIBED])
    await _spread(ledger, sent, dice)

    draft = portal.save(
        "CUSTOMER", "PROSPECT", **(_NEWSLETTER | {"subject": "Meet our three new models"}), name="Q2 product launch"
    )["id"]
    for email, note in _SUPPRESSIONS:
        portal.api.post("/suppressions", json={"email": email} | ({"note": note} if note else {})).raise_for_status()
    as_csv = {"content-type": "text/csv"}
    portal.api.post("/suppressions.csv", content=_FILE, headers=as_csv).raise_for_status()
    await ledger.execute(_BOUNCED, sent)
    sending = portal.save(
        **(_NEWSLETTER | {"subject": "{{ firstName }}, the summer catalogue is here"}),
        name="Summer catalogue",
        trackClicks=True,
    )["id"]
    await ledger.close()
    return {"draft": draft, "sending": sending, "sent": sent, "failed": failed}


async def _age(ledger: asyncpg.Connection[Any], campaign_id: str, interval: str) -> None:
    # The interval is part of the text: as a parameter, asyncpg would need a timedelta.
    await ledger.execute(_AGE.replace("$2", f"'{interval}'"), campaign_id)
    await ledger.execute(_AGE_SENDS.replace("$2", f"'{interval}'"), campaign_id)


def _some(dice: random.Random, mails: Sequence[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    return dice.sample(mails, round(len(mails) * share))


def _open(portal: Portal, mails: Iterable[dict[str, Any]], agent: str = _PERSON) -> None:
    _follow((found for mail in mails for found in re.findall(r'src="([^"]+/pixel/[^"]+)"', mail["html"])), agent)


def _links(mails: Iterable[dict[str, Any]], dice: random.Random) -> Iterable[str]:
    for mail in mails:
        links = re.findall(r'href="([^"]+/click/[^"]+)"', mail["html"])
        yield from links if dice.random() < 0.3 else [dice.choices(links, [3, 1])[0]]


def _press_unsubscribe(mails: Iterable[dict[str, Any]]) -> None:
    # So soon after a click, opening the link is not enough.
    for mail in mails:
        link = re.findall(r'href="([^"]+/unsubscribe/[^"]+)"', mail["html"])[0]
        httpx.post(link).raise_for_status()


def _follow(addresses: Iterable[str], agent: str = _PERSON) -> None:
    with httpx.Client(headers={"User-Agent": agent}) as reader:
        for address in addresses:
            assert reader.get(address).status_code < httpx.codes.BAD_REQUEST


async def _spread(ledger: asyncpg.Connection[Any], campaign_id: str, dice: random.Random) -> None:
    """Spreads the events of a few seconds over the day after the launch, most of them early."""
    columns = ", ".join(f"sum({kind}) AS {kind}" for kind in _KINDS)
    happened = await ledger.fetchrow(f"SELECT {columns} FROM marketing_timeline WHERE campaign_id = $1", campaign_id)
    assert happened is not None
    launched = await ledger.fetchval(
        "SELECT date_trunc('minute', launched_at) FROM marketing_campaigns WHERE id = $1", campaign_id
    )
    await ledger.execute("DELETE FROM marketing_timeline WHERE campaign_id = $1", campaign_id)
    minutes: dict[int, dict[str, int]] = {}
    for kind, hours in _KINDS.items():
        for _ in range(happened[kind]):
            minute = min(int(dice.expovariate(1 / (60 * hours))), 30 * 60)
            minutes.setdefault(minute, {}).setdefault(kind, 0)
            minutes[minute][kind] += 1
    for minute, found in minutes.items():
        await ledger.execute(
            "INSERT INTO marketing_timeline (org_id, campaign_id, minute, delivered, opens, clicks, unsubscribes) "
            "VALUES ('acme', $1, $2::timestamptz + $3 * interval '1 minute', $4, $5, $6, $7)",
            campaign_id,
            launched,
            minute,
            *(found.get(kind, 0) for kind in _KINDS),
        )
    await ledger.execute(
        "UPDATE marketing_sends SET opened_at = sent_at + random() * interval '20 hours', "
        "last_opened_at = sent_at + interval '20 hours' WHERE campaign_id = $1 AND opened_at IS NOT NULL",
        campaign_id,
    )
