"""One part is stopped, or hangs: every call gets the right answer or a clear 503 within five seconds, and everything
goes on by itself once the part is back."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from marketing_service.api.openapi import openapi_document
from marketing_service.db import Database
from marketing_service.devstack.contacts import ORG_ID
from tests.acceptance.portal import only
from tests.acceptance.servers import PROMISED_SECONDS, Part, Parts, running_parts
from tests.support.ledger import assert_adds_up, campaign_row, launched, send_rows
from tests.support.relay import Now, Step, call, delay
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

CONTACTS = 30
CUSTOMERS = {"type": "BY_STATUS", "statuses": ["CUSTOMER"]}
READY = ("GET", "/readyz", None)
MESSAGE = {"name": "During", "subject": "During", "fromEmail": "news@acme.example"}

# What each call is answered with when nothing is wrong.
USUAL = {
    "list": 200, "create": 201, "create for statuses": 201, "get": 200, "change": 200, "change statuses": 200,
    "delete": 204, "launch": 202, "launch for statuses": 202, "pause": 200, "resume": 200, "cancel": 200,
    "duplicate": 201, "test": 202, "stats": 200, "preview": 200, "preview for contact": 200, "sends": 200,
    "csv": 200, "audience": 200, "check": 202, "checked": 404, "resend": 202, "overview": 200, "contact statuses": 200,
    "pixel": 200, "unsubscribe": 200, "one click": 200, "alive": 200, "metrics": 200, "preview unsaved": 200,
    "links": 200, "timeline": 200, "click": 404, "suppressions": 200, "suppress": 201, "suppress no more": 404,
    "suppressions csv": 200, "suppress csv": 200, "report": 403,
}  # fmt: skip
NEEDS_NO_DATABASE = {"contact statuses", "pixel", "click", "alive", "metrics", "preview unsaved", "report"}
NEEDS_THE_CRM = {
    "create for statuses", "change statuses", "launch for statuses", "preview for contact", "resend",
    "contact statuses", "audience",
}  # fmt: skip
UNANSWERED: dict[Part, set[str]] = {
    "postgresql": USUAL.keys() - NEEDS_NO_DATABASE,
    "crm": NEEDS_THE_CRM,
    "redis": set(),
    "relay": set(),
}


@dataclass(frozen=True)
class Prepared:
    """What the calls need to find."""

    calls: dict[str, tuple[str, str, Any]]
    unsubscribing: tuple[str, str]
    launched: str
    subject: str


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    folder = tmp_path_factory.mktemp("parts")
    async with running_parts(folder, contacts=CONTACTS, retry_delays="0.5,0.5", requeue_seconds="1") as parts:
        # It is done: one FAILED send, and links in the others.
        await launch(parts, await parts.save(subject="Before"))
        yield parts


async def launch(parts: Parts, campaign_id: str) -> None:
    await parts.post(f"campaigns/{campaign_id}/launch", 202)
    await parts.until_sent(campaign_id)


async def held(parts: Parts) -> str:
    """A campaign that is SENDING, and paused before its first message."""
    campaign_id = await parts.save("CUSTOMER", subject="Held")
    await parts.post(f"campaigns/{campaign_id}/launch", 202)
    await parts.post(f"campaigns/{campaign_id}/pause", 200)
    return campaign_id


async def prepared(parts: Parts) -> Prepared:
    subject = f"During {time.time()}"
    parts.worker.signal(signal.SIGSTOP)
    try:
        to_launch = await parts.save("CHURNED", subject=subject)
        drafts = [await parts.save("CHURNED", subject="Another") for _ in range(6)]
        waiting = [await held(parts) for _ in range(3)]
    finally:
        parts.worker.signal(signal.SIGCONT)
    before = str((await parts.get("campaigns?q=Before"))["items"][0]["id"])
    # An earlier outage may have had it sent again.
    await parts.until_sent(before)
    sends = (await parts.get(f"campaigns/{before}/sends?limit=200"))["items"]
    failed = next(send["id"] for send in sends if send["status"] == "FAILED")
    gone = {send["email"] for send in sends if send["unsubscribedAt"]}
    gone |= {contact.email for contact in parts.crm.book.fixed_contacts(ORG_ID) if contact.status == "CHURNED"}
    one, another = [link for link in parts.links() if link[0] not in gone][:2]

    def of(campaign_id: str, rest: str = "") -> str:
        return f"/api/marketing/campaigns/{campaign_id}{rest}"

    to_change, to_restrict, to_delete, to_launch_anew, to_copy, to_check = drafts
    calls: dict[str, tuple[str, str, Any]] = {
        "list": ("GET", "/api/marketing/campaigns", None),
        "create": ("POST", "/api/marketing/campaigns", MESSAGE),
        "create for statuses": ("POST", "/api/marketing/campaigns", MESSAGE | {"audience": CUSTOMERS}),
        "get": ("GET", of(to_copy), None),
        "change": ("PATCH", of(to_change), {"name": "Changed"}),
        "change statuses": ("PATCH", of(to_restrict), {"audience": CUSTOMERS}),
        "delete": ("DELETE", of(to_delete), None),
        "launch": ("POST", of(to_launch, "/launch"), None),
        "launch for statuses": ("POST", of(to_launch_anew, "/launch"), {"audience": CUSTOMERS}),
        "pause": ("POST", of(waiting[0], "/pause"), None),
        "resume": ("POST", of(waiting[1], "/resume"), None),
        "cancel": ("POST", of(waiting[2], "/cancel"), None),
        "duplicate": ("POST", of(to_copy, "/duplicate"), None),
        "test": ("POST", of(to_copy, "/test"), {"to": ["me@acme.example"]}),
        "stats": ("GET", of(to_copy, "/stats"), None),
        "preview": ("GET", of(to_copy, "/preview"), None),
        "preview for contact": ("GET", of(to_copy, "/preview?contactId=contact-0000000"), None),
        "preview unsaved": ("POST", "/api/marketing/preview", {"subject": "Hello", "htmlBody": "<p>Hello</p>"}),
        "sends": ("GET", of(before, "/sends"), None),
        "csv": ("GET", of(before, "/sends.csv"), None),
        "resend": ("POST", of(before, f"/sends/{failed}/resend"), None),
        "audience": ("GET", "/api/marketing/audience?type=BY_STATUS&statuses=CUSTOMER", None),
        "check": ("POST", of(to_check, "/check"), None),
        "checked": ("GET", of(to_copy, "/check"), None),
        "links": ("GET", of(before, "/links"), None),
        "timeline": ("GET", of(before, "/timeline"), None),
        "overview": ("GET", "/api/marketing/stats", None),
        "suppressions": ("GET", "/api/marketing/suppressions", None),
        "suppress": ("POST", "/api/marketing/suppressions", {"email": f"n{time.time_ns()}@example.com"}),
        "suppress no more": ("DELETE", f"/api/marketing/suppressions/{before}", None),
        "suppressions csv": ("GET", "/api/marketing/suppressions.csv", None),
        "suppress csv": ("POST", "/api/marketing/suppressions.csv", b"email\nnobody@example.com\n"),
        "report": ("POST", "/api/marketing/bounces", b"Subject: Hello\n\n"),
        "contact statuses": ("GET", "/api/marketing/contact-statuses", None),
        "pixel": ("GET", "/api/marketing/pixel/whatever.gif", None),
        "click": ("GET", "/api/marketing/click/whatever/1", None),
        "unsubscribe": ("GET", one[1], None),
        "one click": ("POST", another[1], None),
        "alive": ("GET", "/healthz", None),
        "metrics": ("GET", "/metrics", None),
    }
    return Prepared(calls, (one[0], another[0]), to_launch, subject)


def assert_every_route_is_called(these: Prepared) -> None:
    """A route that is added must be added above."""
    called = {(method, address.partition("?")[0]) for method, address, _ in [READY, *these.calls.values()]}
    for template, operations in openapi_document()["paths"].items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", re.escape(template).replace(r"\{", "{").replace(r"\}", "}")))
        for method in operations:
            found = (method.upper() == asked and pattern.fullmatch(urlsplit(address).path) for asked, address in called)
            assert any(found), f"{method.upper()} {template} is not called"


async def ask(parts: Parts, call: tuple[str, str, Any]) -> tuple[httpx.Response, float]:
    """The answer, and after how many seconds."""
    method, address, body = call
    started = time.monotonic()
    if isinstance(body, bytes):
        kind = "text/csv" if address.endswith(".csv") else "message/rfc822"
        answer = await parts.api.request(method, address, content=body, headers={"Content-Type": kind})
    else:
        answer = await parts.api.request(method, address, json=body)
    return answer, time.monotonic() - started


def assert_unavailable(name: str, answer: httpx.Response) -> None:
    assert answer.status_code == 503, (name, answer.text)
    assert int(answer.headers["retry-after"]) > 0
    if name in {"unsubscribe", "one click"}:
        assert only("<title>(.*?)</title>", answer.text) == "We could not unsubscribe you just now"
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/unavailable"


@pytest.mark.parametrize(
    ("part", "frozen"),
    [
        pytest.param("postgresql", False, id="postgresql-stopped"),
        pytest.param("postgresql", True, id="postgresql-frozen", marks=pytest.mark.full),
        pytest.param("redis", False, id="redis-stopped"),
        pytest.param("redis", True, id="redis-frozen", marks=pytest.mark.full),
        pytest.param("crm", False, id="crm-stopped"),
        pytest.param("crm", True, id="crm-frozen", marks=pytest.mark.full),
        pytest.param("relay", False, id="relay-stopped"),
        pytest.param("relay", True, id="relay-frozen", marks=pytest.mark.full),
    ],
)
async def test_every_call_is_answered_in_time_and_what_was_begun_goes_on(
    parts: Parts, part: Part, frozen: bool
) -> None:
    these = await prepared(parts)
    assert_every_route_is_called(these)
    reads = [call for call in these.calls.values() if call[0] == "GET"]
    async with parts.without(part, frozen=frozen):
        # At once, while connections that look alive are at rest; and when all is known.
        at_once, *answers = await asyncio.gather(*(ask(parts, call) for call in [READY, *these.calls.values()]))
        later, *again = await asyncio.gather(*(ask(parts, call) for call in [READY, *reads]))
    for readiness, _ in (at_once, later):
        assert readiness.json() == {"ready": False, "missing": [part]}
    for name, (answer, _) in zip(these.calls, answers, strict=True):
        if name in UNANSWERED[part]:
            assert_unavailable(name, answer)
        else:
            assert answer.status_code == USUAL[name], (name, answer.text)
    slow = {name: took for name, (_, took) in zip(these.calls, answers, strict=True) if took > PROMISED_SECONDS}
    assert slow == {}
    assert max(seconds for _, seconds in (at_once, later, *again)) < PROMISED_SECONDS

    await parts.until_ready()
    if part == "postgresql":
        # What was not answered was not done; and can be done now.
        assert (await parts.get(f"campaigns/{these.launched}"))["status"] == "DRAFT"
        await parts.post(f"campaigns/{these.launched}/launch", 202)
        for link in ("unsubscribe", "one click"):
            assert (await ask(parts, these.calls[link]))[0].status_code == 200
    await everything_went_on(parts, these)


async def everything_went_on(parts: Parts, these: Prepared) -> None:
    await parts.until_sent(these.launched)
    sends = (await parts.get(f"campaigns/{these.launched}/sends"))["items"]
    assert sends
    # Nobody's try was used up by an outage, and nobody got two.
    assert {(send["status"], send["attempts"]) for send in sends} == {("DELIVERED", 1)}
    assert parts.mailed(these.subject) == sorted(send["email"] for send in sends)

    async def in_the_crm() -> bool:
        return all(
            contact.marketing_opt_out
            for contact in parts.crm.book.fixed_contacts(ORG_ID)
            if contact.email in these.unsubscribing
        )

    await until(in_the_crm, seconds=30)


@pytest.mark.parametrize("part", ["postgresql", "redis"])
async def test_in_the_middle_of_a_campaign_the_same_worker_outlives_it(parts: Parts, part: Part) -> None:
    """PostgreSQL restarts; Redis comes back with nothing in it."""
    recipients, subject = 300, f"Amid {part}"
    amid = asyncio.Event()

    def of_this(now: Now) -> bool:
        return subject.encode() in now.content

    parts.relay.on(Step.DOT, call(lambda _: amid.set(), then=delay(0.01)), nth=recipients // 3, when=of_this)
    parts.relay.on(Step.DOT, delay(0.01), when=of_this)
    worker, owner = parts.worker.pid, Database(parts.postgres.url(), role=None, pool_size=1)
    campaign_id = await launched(owner, recipients, org_id=ORG_ID, subject=subject)
    await asyncio.wait_for(amid.wait(), 30)
    async with parts.without(part):
        pass
    await parts.until_sent(str(campaign_id))
    assert (parts.worker.pid, parts.worker.running, parts.worker.starts) == (worker, True, 1)

    mailed = parts.mailed(subject)
    assert len(mailed) == len(set(mailed))
    rows = await send_rows(owner, campaign_id)
    assert {row["email"] for row in rows if row["status"] == "DELIVERED"} <= set(mailed)
    counters = await assert_adds_up(owner, campaign_id)
    assert counters["delivered"] + counters["unconfirmed"] == recipients
    if part == "redis":
        assert counters["unconfirmed"] == 0
    assert (await campaign_row(owner, campaign_id))["status"] == "SENT"
    await owner.close()
