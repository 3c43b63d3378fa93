"""One dependency is stopped or hangs: every call gets the right response or a clear 503 within five seconds, and
everything continues by itself once the dependency is back."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from marketing_service.api.openapi import openapi_document
from marketing_service.db import Database
from marketing_service.devstack.contacts import ORG_ID
from marketing_service.queue import connect
from tests.acceptance.portal import SECONDS_OF_MACHINES, only
from tests.acceptance.servers import PROMISED_SECONDS, Dependency, Servers, running_servers
from tests.support.ledger import assert_adds_up, campaign_row, launched, send_rows
from tests.support.relay import Now, Step, call, delay
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

CONTACTS = 30
CUSTOMERS = {"type": "BY_STATUS", "statuses": ["CUSTOMER"]}
Call = tuple[str, str, Any]
INTERNAL = {"/healthz", "/readyz", "/metrics"}
READY: Call = ("GET", "/readyz", None)
AT_ONCE = 8
"""All calls at once wait for the processor longer than for the dependency, and a busy machine needs more than the
promised time for them."""
MESSAGE = {"name": "During", "subject": "During", "fromEmail": "news@acme.example"}

# The status of each response when every dependency works.
USUAL = {
    "list": 200, "create": 201, "create for statuses": 201, "get": 200, "change": 200, "change statuses": 200,
    "delete": 204, "launch": 202, "launch for statuses": 202, "pause": 200, "resume": 200, "cancel": 200,
    "duplicate": 201, "test": 202, "stats": 200, "preview": 200, "preview for contact": 200, "sends": 200,
    "csv": 200, "audience": 200, "check": 202, "checked": 404, "resend": 202, "overview": 200, "contact statuses": 200,
    "pixel": 200, "unsubscribe": 200, "one click": 200, "alive": 200, "metrics": 200, "preview unsaved": 200,
    "links": 200, "timeline": 200, "click": 404, "suppressions": 200, "suppress": 201, "suppress no more": 404,
    "suppressions csv": 200, "suppress csv": 200, "imports": 200, "import": 404, "report": 403, "audit": 200,
    "schedule": 200, "unschedule": 200, "reasons": 200, "resend in bulk": 202, "resend of many": 404,
    "events": 404,
}  # fmt: skip
NEEDS_NO_DATABASE = {"contact statuses", "pixel", "click", "alive", "metrics", "preview unsaved", "report"}
NEEDS_THE_CRM = {
    "create for statuses", "change statuses", "launch for statuses", "preview for contact", "resend",
    "contact statuses", "audience",
}  # fmt: skip
UNAVAILABLE_WITHOUT: dict[Dependency, set[str]] = {
    "postgresql": USUAL.keys() - NEEDS_NO_DATABASE,
    "crm": NEEDS_THE_CRM,
    "redis": set(),
    "relay": set(),
}


@dataclass(frozen=True)
class Prepared:
    """The calls, and what they need in the database."""

    calls: dict[str, Call]
    unsubscribing: tuple[str, str]
    launched: str
    subject: str


@pytest.fixture(scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    async with running_servers(folder, contacts=CONTACTS, retry_delays="0.5,0.5", requeue_seconds="1") as servers:
        # The campaign is SENT: it has one FAILED send, and the others have links.
        await launch(servers, await servers.save(subject="Before"))
        # From now on a request for an unsubscribe link is a person's.
        await asyncio.sleep(SECONDS_OF_MACHINES)
        yield servers


async def launch(servers: Servers, campaign_id: str) -> None:
    await servers.post(f"campaigns/{campaign_id}/launch", 202)
    await servers.until_sent(campaign_id)


async def paused(servers: Servers) -> str:
    """A campaign that is SENDING and paused before its first message."""
    campaign_id = await servers.save("CUSTOMER", subject="Paused")
    await servers.post(f"campaigns/{campaign_id}/launch", 202)
    await servers.post(f"campaigns/{campaign_id}/pause", 200)
    return campaign_id


async def prepare(servers: Servers) -> Prepared:
    subject = f"During {time.time()}"
    servers.worker.signal(signal.SIGSTOP)
    try:
        to_launch = await servers.save("CHURNED", subject=subject)
        drafts = [await servers.save("CHURNED", subject="Another") for _ in range(8)]
        waiting = [await paused(servers) for _ in range(3)]
    finally:
        servers.worker.signal(signal.SIGCONT)
    before = str((await servers.get("campaigns?q=Before"))["items"][0]["id"])
    # The test of an earlier outage may have resent one of its sends.
    await servers.until_sent(before)
    sends = (await servers.get(f"campaigns/{before}/sends?limit=200"))["items"]
    failed = next(send["id"] for send in sends if send["status"] == "FAILED")
    gone = {send["email"] for send in sends if send["unsubscribedAt"]}
    gone |= {contact.email for contact in servers.crm.book.fixed_contacts(ORG_ID) if contact.status == "CHURNED"}
    one, another = [link for link in servers.links() if link[0] not in gone][:2]

    def of(campaign_id: str, rest: str = "") -> str:
        return f"/api/marketing/campaigns/{campaign_id}{rest}"

    to_change, to_restrict, to_delete, to_launch_for_statuses, to_copy, to_check, to_schedule, unscheduled = drafts
    calls: dict[str, Call] = {
        "list": ("GET", "/api/marketing/campaigns", None),
        "create": ("POST", "/api/marketing/campaigns", MESSAGE),
        "create for statuses": ("POST", "/api/marketing/campaigns", MESSAGE | {"audience": CUSTOMERS}),
        "get": ("GET", of(to_copy), None),
        "change": ("PATCH", of(to_change), {"name": "Changed"}),
        "change statuses": ("PATCH", of(to_restrict), {"audience": CUSTOMERS}),
        "delete": ("DELETE", of(to_delete), None),
        "launch": ("POST", of(to_launch, "/launch"), None),
        "launch for statuses": ("POST", of(to_launch_for_statuses, "/launch"), {"audience": CUSTOMERS}),
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
        # None is UNCONFIRMED, so this one is finished at once.
        "resend in bulk": ("POST", of(before, "/resend"), {"status": ["UNCONFIRMED"]}),
        "resend of many": ("GET", of(before, f"/resends/{before}"), None),
        "reasons": ("GET", of(before, "/reasons"), None),
        # There is no such campaign: the stream of an existing one may go on for as long as the outage.
        "events": ("GET", of(failed, "/events"), None),
        "schedule": ("POST", of(to_schedule, "/schedule"), {"at": f"{datetime.now(UTC) + timedelta(days=1):%FT%TZ}"}),
        "unschedule": ("DELETE", of(unscheduled, "/schedule"), None),
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
        "imports": ("GET", "/api/marketing/suppressions/imports", None),
        "import": ("GET", f"/api/marketing/suppressions/imports/{before}", None),
        "audit": ("GET", "/api/marketing/audit", None),
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


def assert_every_route_is_called(prepared: Prepared) -> None:
    """Fails for a route that is not in the calls above."""
    called = {(method, address.partition("?")[0]) for method, address, _ in [READY, *prepared.calls.values()]}
    for template, operations in openapi_document()["paths"].items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", re.escape(template).replace(r"\{", "{").replace(r"\}", "}")))
        for method in operations:
            found = (method.upper() == asked and pattern.fullmatch(urlsplit(address).path) for asked, address in called)
            assert any(found), f"{method.upper()} {template} is not called"


async def request(servers: Servers, call: Call) -> tuple[httpx.Response, float]:
    """The response, and the seconds that it took."""
    method, address, body = call
    started = time.monotonic()
    if isinstance(body, bytes):
        kind = "text/csv" if address.endswith(".csv") else "message/rfc822"
        response = await servers.api.request(method, address, content=body, headers={"Content-Type": kind})
    else:
        client = servers.internal if address in INTERNAL else servers.api
        response = await client.request(method, address, json=body)
    return response, time.monotonic() - started


async def request_all(servers: Servers, calls: list[Call]) -> list[tuple[httpx.Response, float]]:
    """The response to each call and the seconds that it took, AT_ONCE calls at a time."""
    results = []
    for start in range(0, len(calls), AT_ONCE):
        results += await asyncio.gather(*(request(servers, call) for call in calls[start : start + AT_ONCE]))
    return results


def assert_unavailable(name: str, response: httpx.Response) -> None:
    assert response.status_code == 503, (name, response.text)
    assert int(response.headers["retry-after"]) > 0
    if name in {"unsubscribe", "one click"}:
        assert only("<title>(.*?)</title>", response.text) == "We could not unsubscribe you just now"
    else:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "/problems/unavailable"


@pytest.mark.parametrize(
    ("dependency", "frozen"),
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
async def test_every_call_gets_a_response_in_time_and_the_work_continues(
    servers: Servers, dependency: Dependency, frozen: bool
) -> None:
    prepared = await prepare(servers)
    assert_every_route_is_called(prepared)
    reads = [call for call in prepared.calls.values() if call[0] == "GET"]
    async with servers.without(dependency, frozen=frozen):
        # First while the pools still have idle connections that look open, then once the outage is known.
        at_once, *responses = await request_all(servers, [READY, *prepared.calls.values()])
        later, *again = await request_all(servers, [READY, *reads])
    for readiness, _ in (at_once, later):
        assert readiness.json() | {"causes": None} == {"ready": False, "missing": [dependency], "causes": None}
        assert readiness.json()["causes"].keys() == {dependency}
    for name, (response, _) in zip(prepared.calls, responses, strict=True):
        if name in UNAVAILABLE_WITHOUT[dependency]:
            assert_unavailable(name, response)
        else:
            assert response.status_code == USUAL[name], (name, response.text)
    slow = {name: took for name, (_, took) in zip(prepared.calls, responses, strict=True) if took > PROMISED_SECONDS}
    assert slow == {}
    assert max(seconds for _, seconds in (at_once, later, *again)) < PROMISED_SECONDS

    await servers.until_ready()
    if dependency == "postgresql":
        # A request that got a 503 changed nothing, and it succeeds now.
        assert (await servers.get(f"campaigns/{prepared.launched}"))["status"] == "DRAFT"
        await servers.post(f"campaigns/{prepared.launched}/launch", 202)
        for link in ("unsubscribe", "one click"):
            assert (await request(servers, prepared.calls[link]))[0].status_code == 200
    await assert_work_continued(servers, prepared)


async def assert_work_continued(servers: Servers, prepared: Prepared) -> None:
    await servers.until_sent(prepared.launched)
    sends = (await servers.get(f"campaigns/{prepared.launched}/sends"))["items"]
    assert sends
    # The outage used no try, and no recipient got two messages.
    assert {(send["status"], send["attempts"]) for send in sends} == {("DELIVERED", 1)}
    assert servers.mailed(prepared.subject) == sorted(send["email"] for send in sends)

    async def in_the_crm() -> bool:
        return all(
            contact.marketing_opt_out
            for contact in servers.crm.book.fixed_contacts(ORG_ID)
            if contact.email in prepared.unsubscribing
        )

    await until(in_the_crm)


@pytest.mark.parametrize("dependency", ["postgresql", "redis"])
async def test_a_worker_survives_an_outage_in_the_middle_of_a_campaign(
    servers: Servers, dependency: Dependency
) -> None:
    """PostgreSQL restarts; Redis restarts empty."""
    recipients, subject = 300, f"Amid {dependency}"
    amid = asyncio.Event()

    def of_this(now: Now) -> bool:
        return subject.encode() in now.content

    servers.relay.on(Step.DOT, call(lambda _: amid.set(), then=delay(0.01)), nth=recipients // 3, when=of_this)
    servers.relay.on(Step.DOT, delay(0.01), when=of_this)
    worker, owner = servers.worker.pid, Database(servers.postgres.url(), role=None, pool_size=1)
    campaign_id = await launched(owner, recipients, org_id=ORG_ID, subject=subject)
    await asyncio.wait_for(amid.wait(), 60)
    async with servers.without(dependency):
        pass
    await servers.until_sent(str(campaign_id))
    assert (servers.worker.pid, servers.worker.running, servers.worker.starts) == (worker, True, 1)

    mailed = servers.mailed(subject)
    assert len(mailed) == len(set(mailed))
    rows = await send_rows(owner, campaign_id)
    assert {row["email"] for row in rows if row["status"] == "DELIVERED"} <= set(mailed)
    counters = await assert_adds_up(owner, campaign_id)
    assert counters["delivered"] + counters["unconfirmed"] == recipients
    if dependency == "redis":
        assert counters["unconfirmed"] == 0
    assert (await campaign_row(owner, campaign_id))["status"] == "SENT"
    await owner.close()


async def test_too_many_open_files_are_named_for_each_system(servers: Servers) -> None:
    await servers.until_ready()  # this connection of the test stays open
    api = servers.api_process.pid
    limits = resource.prlimit(api, resource.RLIMIT_NOFILE)
    # The number of a new file must be below the limit, and these are in use.
    resource.prlimit(api, resource.RLIMIT_NOFILE, (3, limits[1]))
    causes: dict[str, str] = {}

    async def unready() -> bool:  # a result is kept for a second
        causes.update((await servers.internal.get("/readyz")).json()["causes"])
        return bool(causes)

    try:
        await end_connections(servers)
        await until(unready)
    finally:
        resource.prlimit(api, resource.RLIMIT_NOFILE, limits)
    said = "this process has too many open files"
    assert causes.keys() >= {"postgresql", "redis", "relay"}
    assert [part for part, cause in causes.items() if said not in cause] == []
    assert servers.api_log.read_text(encoding="utf-8").count(said) >= len(causes)
    await servers.until_ready()


async def end_connections(servers: Servers) -> None:
    """Every process must open new ones to PostgreSQL and Redis."""
    owner = Database(servers.postgres.url(), role=None, pool_size=1)
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        )
    await owner.close()
    redis = connect(servers.valkey.url())
    await redis.client_kill_filter(skipme=True)
    await redis.aclose(close_connection_pool=True)
