"""A CRM that sends too much: every answer has a limit, and the rest of it is not read."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from marketing_service.addresses import mailbox_key
from marketing_service.audience import CrmAudience
from marketing_service.audience.crm import MAX_ANSWER_OCTETS
from marketing_service.bounded_http import open_client
from marketing_service.ports import Audience, AudienceUnavailable, ContactStatus
from tests.integration.audience.test_sources import contact, everyone
from tests.support.crm_server import TOKEN, CrmServer, Reply, answers, as_json, changes

if TYPE_CHECKING:
    from asyncio import StreamWriter
    from collections.abc import AsyncIterator

    from tests.support.crm_server import Fault


EVERYBODY = Audience()
CONTACTS = [contact(number) for number in range(25)]
MEGABYTE = 1024 * 1024
MAX_RISE = 32 * MEGABYTE
"""Octets of memory that Python may use while it reads an answer that is too large."""


@pytest.fixture
async def source(crm: CrmServer) -> AsyncIterator[CrmAudience]:
    crm.contacts = {"org": list(CONTACTS)}
    crm.statuses = [ContactStatus("LEAD", "Lead")]
    async with open_client() as client:
        yield CrmAudience(client, crm.url, TOKEN, page_size=10, timeout=20, quick_timeout=20, retry_seconds=0.1)


def gzip_bomb(megabytes: int) -> bytes:
    """So many megabytes of spaces as gzip: a thousandth of their size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * MEGABYTE) for _ in range(megabytes)) + packer.flush()


BOMB = gzip_bomb(256)


def sends(head: str, *parts: bytes, repeat: int = 1) -> Fault:
    """The head of a response, and then the parts, so many times."""

    async def fault(writer: StreamWriter, good: Reply) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        for _ in range(repeat):
            for part in parts:
                writer.write(part)
                await writer.drain()
        writer.close()

    return fault


CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
TOO_LARGE: dict[str, Fault] = {
    "announced": sends("content-length: 99999999999999999999"),
    "announced-and-sent": sends(f"content-length: {400 * MEGABYTE}", b" " * MEGABYTE, repeat=400),
    "chunked": sends("transfer-encoding: chunked", CHUNK, repeat=6400),
    "until-the-end-of-the-connection": sends("connection: close", b" " * MEGABYTE, repeat=400),
    "gzip-bomb": answers(200, BOMB, content_encoding="gzip"),
    "gzip-bomb-in-parts": sends("content-encoding: gzip", *(BOMB[at : at + 1000] for at in range(0, len(BOMB), 1000))),
}


@pytest.mark.parametrize("fault", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    source: CrmAudience, crm: CrmServer, fault: Fault
) -> None:
    crm.always = fault
    tracemalloc.start()
    try:
        with pytest.raises(AudienceUnavailable, match=r"response is larger than 4096 KB"):
            await everyone(source)
        with pytest.raises(AudienceUnavailable, match=r"response is larger than 1024 KB"):
            await source.statuses("org")
        rise = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rise < MAX_RISE
    crm.always = None
    assert await everyone(source) == CONTACTS


UNREADABLE: dict[str, Fault] = {
    "a-megabyte-of-headers": sends("\r\n".join(f"x-{number}: {'y' * 1000}" for number in range(1000))),
    "one-long-header": sends("x: " + "y" * MEGABYTE),
    "a-coding-that-was-not-asked-for": answers(200, zlib.compress(b"{}"), content_encoding="deflate"),
    "two-codings": answers(200, gzip.compress(gzip.compress(b"{}")), content_encoding="gzip, gzip"),
    "gzip-cut-short": answers(200, gzip.compress(b'{"items": []}')[:-4], content_encoding="gzip"),
    "more-after-gzip": answers(200, gzip.compress(b'{"items": []}') + b"more", content_encoding="gzip"),
    "another-host": answers(302, location="http://127.0.0.1:1/"),
    "too-deep": answers(200, b'{"items":' + b"[" * 500_000),
}


@pytest.mark.parametrize("fault", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_an_answer_that_cannot_be_read_is_unavailable(source: CrmAudience, crm: CrmServer, fault: Fault) -> None:
    crm.always = fault
    with pytest.raises(AudienceUnavailable):
        await source.statuses("org")
    crm.always = None
    assert await source.statuses("org") == [ContactStatus("LEAD", "Lead")]


async def test_a_compressed_answer_is_read(source: CrmAudience, crm: CrmServer) -> None:
    body = json.dumps({"items": [{"value": "LEAD", "label": "Lead"}]}).encode()
    crm.always = answers(200, gzip.compress(body), content_encoding="gzip")
    assert await source.statuses("org") == [ContactStatus("LEAD", "Lead")]
    assert crm.requests[-1].headers["accept-encoding"] == "gzip"


async def test_an_answer_of_exactly_the_limit_is_read(source: CrmAudience, crm: CrmServer) -> None:
    body = json.dumps({"items": []}).encode()
    body += b" " * (MAX_ANSWER_OCTETS - len(body))
    for fault in (answers(200, body), answers(200, gzip.compress(body), content_encoding="gzip")):
        crm.always = fault
        assert await source.statuses("org") == []
    for fault in (answers(200, body + b" "), answers(200, gzip.compress(body + b" "), content_encoding="gzip")):
        crm.always = fault
        with pytest.raises(AudienceUnavailable, match="larger"):
            await source.statuses("org")


async def test_a_page_with_more_contacts_than_were_asked_for_is_not_used(source: CrmAudience, crm: CrmServer) -> None:
    crm.always = changes(lambda page: {**page, "items": page["items"] + page["items"][:1]})
    with pytest.raises(AudienceUnavailable, match="11 contacts; 10 were asked for"):
        await everyone(source)


@pytest.mark.parametrize("count", [2**31, 10**400, 1e300])
async def test_a_number_that_the_ledger_cannot_store_is_not_used(
    source: CrmAudience, crm: CrmServer, count: float
) -> None:
    crm.always = answers(200, json.dumps({"count": count}).encode())
    with pytest.raises(AudienceUnavailable, match="contract"):
        await source.count("org", EVERYBODY)
    crm.always = answers(200, b'{"count": ' + b"9" * 100_000 + b"}")
    with pytest.raises(AudienceUnavailable):
        await source.count("org", EVERYBODY)


async def test_a_cursor_that_does_not_fit_into_a_url_is_not_used(source: CrmAudience, crm: CrmServer) -> None:
    crm.always = changes(lambda page: {**page, "nextCursor": "x" * 4097})
    with pytest.raises(AudienceUnavailable, match="nextCursor"):
        await everyone(source)


async def test_more_than_a_thousand_statuses_are_not_used(source: CrmAudience, crm: CrmServer) -> None:
    statuses = [{"value": f"S{number}", "label": "A status"} for number in range(1001)]
    crm.always = answers(200, json.dumps({"items": statuses[:1000]}).encode())
    assert len(await source.statuses("org")) == 1000
    crm.always = answers(200, json.dumps({"items": statuses}).encode())
    with pytest.raises(AudienceUnavailable, match="contract"):
        await source.statuses("org")


@pytest.mark.parametrize("status", [200, 201])
async def test_another_contact_than_the_one_asked_for_is_not_used(
    source: CrmAudience, crm: CrmServer, status: int
) -> None:
    crm.always = answers(status, json.dumps(as_json(contact(2))).encode())
    with pytest.raises(AudienceUnavailable, match="another contact"):
        await source.contact("org", "c-000001")
    with pytest.raises(AudienceUnavailable, match="another contact"):
        await source.opt_out("org", "c-000001")
    found = await source.contact("org", "c-000002")
    assert found == contact(2)


async def test_an_address_with_a_thousand_contacts_is_the_most(source: CrmAudience, crm: CrmServer) -> None:
    crm.contacts["org"] = [contact(number, email="info@example.org") for number in range(1000)]
    assert len(await source.contacts_with_email("org", mailbox_key("info@example.org"))) == 1000
    crm.contacts["org"].append(contact(1000, email="info@example.org"))
    with pytest.raises(AudienceUnavailable, match="more than 1000 contacts"):
        await source.contacts_with_email("org", mailbox_key("info@example.org"))


async def test_cookies_of_the_crm_are_not_sent_back(source: CrmAudience, crm: CrmServer) -> None:
    crm.faults.append(answers(200, b'{"items": []}', set_cookie="a=b; Path=/"))
    await source.statuses("org")
    await source.statuses("org")
    assert "cookie" not in crm.requests[-1].headers


async def test_a_redirect_is_not_followed(source: CrmAudience, crm: CrmServer) -> None:
    async with CrmServer() as other:
        crm.always = answers(307, location=f"{other.url}/api/crm/orgs/org/contact-statuses")
        with pytest.raises(AudienceUnavailable, match="307"):
            await source.statuses("org")
        assert other.requests == []
