"""Faults of the CRM: a temporary fault leads to another try, a refusal does not."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.addresses import mailbox_key
from marketing_service.audience import CrmAudience
from marketing_service.backoff import ExponentialBackoff
from marketing_service.ports import Audience, AudienceRefused, AudienceType, AudienceUnavailable, ContactStatus, LeftOut
from tests.integration.audience.test_sources import contact, everyone
from tests.support.crm_server import (
    TOKEN,
    CrmServer,
    answers,
    changes,
    cuts_short,
    drips,
    hangs_up,
    says_nothing,
    stops_halfway,
)
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from tests.support.crm_server import Fault


EVERYBODY = Audience()
CONTACTS = [contact(number) for number in range(25)]
BACKOFF = ExponentialBackoff(first=0.03, maximum=8.0, jitter=0.5)


@pytest.fixture
def make_crm(crm: CrmServer, client: httpx.AsyncClient) -> Callable[..., CrmAudience]:
    crm.contacts = {"org": list(CONTACTS)}
    crm.statuses = [ContactStatus("LEAD", "Lead")]

    def make(**options: Any) -> CrmAudience:
        defaults: dict[str, Any] = {"page_size": 10, "timeout": 0.3, "quick_timeout": 0.8, "backoff": BACKOFF}
        return CrmAudience(client, crm.url + "/", TOKEN, **(defaults | options))

    return make


def cursors(crm: CrmServer) -> list[str | None]:
    return [request.query.get("cursor", [None])[0] for request in crm.requests]


TEMPORARY: dict[str, Fault] = {
    **{str(status): answers(status) for status in (302, 408, 429, 500, 502, 503, 504)},
    "retry-after": answers(503, retry_after="0"),
    "hangs-up": hangs_up,
    "stops-halfway": stops_halfway,
    "cuts-short": cuts_short,
    "says-nothing": says_nothing,
    "drips": drips,
    "html": answers(200, b"<html>Bad gateway</html>"),
    "empty": answers(200),
    "no-content": answers(204),
    "null": answers(200, b"null"),
    "nul": answers(200, b'{"items": [{"firstName": "\\u0000"}], "nextCursor": null}'),
    "nested": answers(200, b"[" * 100_000),
    "not-utf-8": answers(200, b'{"items":[],"nextCursor":"\xff"}'),
    "not-gzip": answers(200, b"x", content_encoding="gzip"),
    "no-cursor": changes(lambda page: {"items": page["items"]}),
    "empty-cursor": changes(lambda page: {**page, "nextCursor": ""}),
    "cursor-of-another-type": changes(lambda page: {**page, "nextCursor": 7}),
    "no-items": changes(lambda page: {"nextCursor": page["nextCursor"]}),
    "half-a-contact": changes(lambda page: {**page, "items": [{"id": "c-1"}]}),
    "a-flag-in-quotes": changes(lambda page: page["items"][3].update(marketingOptOut="false") or page),
    "a-numeric-id": changes(lambda page: page["items"][3].update(id=7) or page),
}


@pytest.mark.parametrize("fault", TEMPORARY.values(), ids=TEMPORARY.keys())
async def test_a_temporary_fault_costs_one_more_try_for_the_page(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, fault: Fault
) -> None:
    crm.faults.extend([None, fault])
    assert await everyone(make_crm()) == CONTACTS
    assert cursors(crm) == [None, "c-000009", "c-000009", "c-000019"]


async def test_a_page_is_tried_several_times(make_crm: Callable[..., CrmAudience], crm: CrmServer) -> None:
    crm.faults.extend([hangs_up, answers(503), cuts_short])
    assert await everyone(make_crm()) == CONTACTS


@pytest.mark.parametrize("fault", [answers(500), says_nothing, cuts_short], ids=["500", "says-nothing", "cuts-short"])
async def test_retries_end_after_the_time_limit(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, fault: Fault
) -> None:
    crm.always = fault
    started = time.monotonic()
    with pytest.raises(AudienceUnavailable):
        await everyone(make_crm(retry_seconds=0.8))
    assert time.monotonic() - started < 3
    assert len(crm.requests) >= 2


async def test_a_crm_that_is_gone_is_unavailable(make_crm: Callable[..., CrmAudience], crm: CrmServer) -> None:
    source = make_crm(retry_seconds=0.1)
    await crm.__aexit__()
    with pytest.raises(AudienceUnavailable, match="ConnectError"):
        await everyone(source)
    with pytest.raises(AudienceUnavailable, match="ConnectError"):
        await source.statuses("org")


async def test_retry_after_is_respected(make_crm: Callable[..., CrmAudience], crm: CrmServer) -> None:
    crm.faults.append(answers(429, retry_after="1"))
    started = time.monotonic()
    assert await everyone(make_crm()) == CONTACTS
    assert time.monotonic() - started >= 1


async def test_a_retry_after_beyond_the_time_limit_is_passed_on(
    make_crm: Callable[..., CrmAudience], crm: CrmServer
) -> None:
    crm.faults.append(answers(503, retry_after="120"))
    with pytest.raises(AudienceUnavailable) as outage:
        await everyone(make_crm(retry_seconds=30))
    assert outage.value.retry_after == 120
    assert len(crm.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
async def test_a_refusal_is_not_tried_again(make_crm: Callable[..., CrmAudience], crm: CrmServer, status: int) -> None:
    crm.always = answers(status, b'{"detail": "The status FOO is unknown."}')
    with pytest.raises(AudienceRefused, match=r"The CRM (refused .*FOO is unknown|does not know)") as refusal:
        await everyone(make_crm())
    assert TOKEN not in str(refusal.value)
    assert len(crm.requests) == 1


async def test_a_wrong_service_token_is_refused(crm: CrmServer, client: httpx.AsyncClient) -> None:
    with pytest.raises(AudienceRefused, match="401"):
        await CrmAudience(client, crm.url, "wrong").count("org", EVERYBODY)


@pytest.mark.parametrize("period", [1, 2, 7])
async def test_a_list_that_repeats_a_cursor_ends(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, period: int
) -> None:
    answered = iter(range(1000))
    crm.always = changes(lambda page: {**page, "nextCursor": f"cursor-{next(answered) % period}"})
    with pytest.raises(AudienceUnavailable, match="does not end"):
        await everyone(make_crm())
    assert len(crm.requests) <= 3 * period


UNSAFE_IDS = ["..", ".", "/", "a/b", "count/", "../..", "..\\..", "a\\..", "a\r\nx: y", "\x7f", "\x85", "\ud800", ""]


@pytest.mark.parametrize("contact_id", UNSAFE_IDS)
async def test_an_id_that_is_not_one_segment_of_a_path_never_reaches_the_crm(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, contact_id: str
) -> None:
    source = make_crm()
    assert await source.contact("org", contact_id) is None
    assert not await source.opt_out("org", contact_id)
    for call in (source.statuses(contact_id), source.count(contact_id, EVERYBODY), source.contact(contact_id, "c-1")):
        with pytest.raises(AudienceRefused, match="cannot be part of a path"):
            await call
    assert crm.requests == []


@pytest.mark.parametrize("contact_id", ["..", "a/b", "a\nb"])
async def test_a_contact_whose_opt_out_could_not_be_written_back_fails_the_launch(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, contact_id: str
) -> None:
    crm.always = changes(lambda page: page["items"][0].update(id=contact_id) or page)
    with pytest.raises(AudienceRefused, match="cannot be one segment"):
        await everyone(make_crm())


@pytest.mark.parametrize("contact_id", ["%2F", "%2e%2e", "a?b", "a#b", "a;b=c", "a b", "é", "...", "%"])
async def test_every_other_id_is_one_segment(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, contact_id: str
) -> None:
    crm.contacts = {"org": [contact(1, id=contact_id)]}
    source = make_crm()
    assert await source.contact("org", contact_id) == contact(1, id=contact_id)
    assert await source.opt_out("org", contact_id)
    for request in crm.requests:
        assert re.fullmatch(r"/api/crm/orgs/org/contacts/[A-Za-z0-9._~%-]+", request.path)
        assert request.query == {}


@pytest.mark.parametrize("contact_id", ["", "x" * 65, "a\x00b", "cut \ud83d"])
async def test_an_id_that_cannot_be_stored_is_refused(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, contact_id: str
) -> None:
    crm.always = changes(lambda page: page["items"][0].update(id=contact_id) or page)
    with pytest.raises(AudienceRefused, match="whose id"):
        await everyone(make_crm())
    assert len(crm.requests) == 1


async def test_characters_that_cannot_be_stored_are_replaced_except_in_ids(
    make_crm: Callable[..., CrmAudience], crm: CrmServer
) -> None:
    crm.contacts["org"] = [
        contact(1, first_name="a\x00b", last_name="cut \ud83d", company_name="😀 \udc00"),
        contact(2),
    ]
    found, _ = await everyone(make_crm())
    assert (found.first_name, found.last_name, found.company_name) == ("a\ufffdb", "cut \ufffd", "😀 \ufffd")


async def test_contacts_that_the_crm_should_have_filtered_are_dropped(
    make_crm: Callable[..., CrmAudience], crm: CrmServer
) -> None:
    unfiltered = [
        contact(1),
        contact(2, marketing_opt_out=True),
        contact(3, status="LEAD"),
        contact(4, email=None),
        contact(5, email="PERSON1@example.org"),
    ]
    crm.contacts["org"] = unfiltered
    crm.ignores_filters = True
    source = make_crm()
    customers = Audience(AudienceType.BY_STATUS, ("CUSTOMER",))
    assert [found.id for found in await everyone(source, customers)] == ["c-000001", "c-000005"]
    assert [found.id for found in await source.contacts_with_email("org", mailbox_key("person1@example.org"))] == [
        "c-000001",
        "c-000005",
    ]


async def test_an_empty_audience_sends_no_request(make_crm: Callable[..., CrmAudience], crm: CrmServer) -> None:
    source = make_crm()
    nobody = Audience(AudienceType.BY_STATUS)
    assert await everyone(source, nobody) == []
    assert await source.count("org", nobody) == 0
    assert await source.sample("org", nobody, limit=10) == []
    assert await source.left_out("org", nobody) == LeftOut(0, 0)
    assert crm.requests == []


CALLS: dict[str, Callable[[CrmAudience], Awaitable[object]]] = {
    "count": lambda source: source.count("org", EVERYBODY),
    "sample": lambda source: source.sample("org", EVERYBODY, limit=10),
    "contact": lambda source: source.contact("org", "c-000001"),
    "contacts_with_email": lambda source: source.contacts_with_email("org", mailbox_key("person1@example.org")),
    "opt_out": lambda source: source.opt_out("org", "c-000001"),
    "statuses": lambda source: source.statuses("org"),
}
Call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@Call
async def test_a_quick_call_is_tried_once_more(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, call: Callable[[CrmAudience], Awaitable[object]]
) -> None:
    for fault in (hangs_up, answers(500), stops_halfway):
        crm.requests.clear()
        crm.faults.append(fault)
        assert await call(make_crm())
        assert len(crm.requests) == 2


@Call
@pytest.mark.parametrize("fault", [says_nothing, drips, answers(500)], ids=["says-nothing", "drips", "500"])
async def test_a_quick_call_ends_soon(
    make_crm: Callable[..., CrmAudience],
    crm: CrmServer,
    call: Callable[[CrmAudience], Awaitable[object]],
    fault: Fault,
) -> None:
    crm.always = fault
    started = time.monotonic()
    with pytest.raises(AudienceUnavailable):
        await call(make_crm(timeout=10, quick_timeout=0.2))
    assert time.monotonic() - started < 2
    assert len(crm.requests) <= 2


@Call
async def test_a_quick_call_passes_retry_after_on(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, call: Callable[[CrmAudience], Awaitable[object]]
) -> None:
    crm.always = answers(429, retry_after="9")
    with pytest.raises(AudienceUnavailable) as outage:
        await call(make_crm())
    assert outage.value.retry_after == 9
    assert len(crm.requests) == 1


@Call
async def test_a_quick_call_is_refused_at_once(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, call: Callable[[CrmAudience], Awaitable[object]]
) -> None:
    crm.always = answers(403)
    with pytest.raises(AudienceRefused, match=r"The CRM refused \(403\)\."):
        await call(make_crm())
    assert len(crm.requests) == 1


@pytest.mark.parametrize("name", ["count", "contact", "statuses"])
async def test_a_response_that_does_not_match_the_contract_is_not_used(
    make_crm: Callable[..., CrmAudience], crm: CrmServer, name: str
) -> None:
    for body in (b"", b"[]", b"null", b'{"count": -1}', b'{"count": true}', b'{"items": [{}]}', b'}{"id": 1'):
        crm.always = answers(200, body)
        with pytest.raises(AudienceUnavailable):
            await CALLS[name](make_crm())


async def test_after_a_cancelled_call_the_client_is_usable(
    make_crm: Callable[..., CrmAudience], crm: CrmServer
) -> None:
    crm.faults.append(says_nothing)
    source = make_crm()
    call = asyncio.create_task(source.statuses("org"))

    async def asked() -> bool:
        return bool(crm.requests)

    await until(asked)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await source.count("org", EVERYBODY) == 25
