"""Every reader of foreign text, with generated input: it ends, and raises only the errors that it documents.

`make fuzz` tries 10,000 inputs for each; `make test` tries a few.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.addresses import is_deliverable, read_address, read_key_prefix, search_forms
from marketing_service.api.client_detection import client_group, machine_reason
from marketing_service.api.cursors import read_campaign_cursor, read_log_cursor, read_suppression_cursor
from marketing_service.api.damaged_links import DamagedLinks
from marketing_service.api.idempotency import read_key
from marketing_service.api.languages import preferred
from marketing_service.api.preconditions import versions_in
from marketing_service.audience.crm_json import read_contact, read_count, read_detail, read_page, read_statuses
from marketing_service.audience.crm_path import crm_path, is_one_segment
from marketing_service.audience.retry import retry_after_seconds
from marketing_service.auth import ClaimRules, SecretAuthenticator
from marketing_service.auth.keys import read_key_set
from marketing_service.auth.verify import read_header
from marketing_service.campaigns.suppression_file import read_suppressions
from marketing_service.delivery.wire import Wire, WireBroken
from marketing_service.errors import Forbidden, InvalidInput, Unauthenticated
from marketing_service.ports import AudienceRefused, AudienceUnavailable
from marketing_service.rendering import (
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    TemplateError,
    compile_message,
    lint,
    merge_tag_findings,
)
from marketing_service.rendering.derive import html_from_text, text_from_html
from marketing_service.rendering.markup import tokens
from marketing_service.replies import Phase, Reply, classify
from marketing_service.reports import read_report
from marketing_service.storable_text import is_storable
from marketing_service.tokens import BounceAddresses, Purpose, TokenKeyring
from tests.fuzz import strategies as foreign

if TYPE_CHECKING:
    from collections.abc import Callable

KEYRING = TokenKeyring([b"n" * 32])
BOUNCES = BounceAddresses(KEYRING, "bounces.example")
RULES = ClaimRules("portal", "marketing", frozenset({"ADMIN"}), "marketing")
CRM = (AudienceUnavailable, AudienceRefused)


@dataclass(frozen=True)
class Reader:
    """What a reader reads, the function, and the errors that it documents."""

    inputs: st.SearchStrategy[Any]
    read: Callable[[Any], object]
    errors: tuple[type[Exception], ...] = ()


def a_message(text: str, *, subject: str = "Hello") -> object:
    source = MessageSource(
        UUID(int=1), "acme", "Acme", "news@example.com", None, subject, text, None, track_clicks=True
    )
    message = compile_message(source, public_base_url="https://mail.example", one_click=True)
    fields = MergeFields("a@example.com", "Ada", None, "Acme & Co")
    return message.bodies(RecipientData(UUID(int=2), fields, datetime.fromtimestamp(0, UTC), *("x" * 43,) * 3))


def an_html_body(text: str) -> object:
    written = {"htmlBody": text, "textBody": text, "fromName": text}
    return list(tokens(text)), text_from_html(text), lint(text, None, html=text), list(merge_tag_findings(written))


def an_address(text: str) -> object:
    mailbox = read_address(text)
    # A deliverable address is stored and mailed: its key is one, too.
    if mailbox.is_deliverable:
        assert is_deliverable(mailbox.key)
        assert is_storable(text)
    assert is_storable(mailbox.key)
    return mailbox, search_forms(mailbox.key), read_key_prefix(text).includes(mailbox.key)


class Relay(asyncio.Transport):
    """A transport that sends nothing anywhere."""

    def write(self, data: object) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False


def a_relay(octets: bytes) -> object:
    """What a relay sends, as replies of a connection, and what they mean."""

    async def talk() -> list[object]:
        wire = Wire(Relay(), lambda: None, quit_timeout=1)
        wire.write(b"EHLO a.example\r\n", replies=1000)
        for place in range(0, len(octets), 7):
            wire.data_received(octets[place : place + 7])
        replies: list[object] = []
        while wire.has_reply:
            raw = await wire.read_reply(1)
            reply = Reply.of(raw.code, b"\n".join(raw.lines).decode("utf-8", "replace"))
            replies.append([classify(reply, phase) for phase in Phase])
        return replies

    return asyncio.run(talk())


def a_reply(text: str) -> object:
    return [classify(Reply.of(code, text), phase) for code in (250, 421, 452, 550, 599) for phase in Phase]


def a_token(text: str) -> object:
    assert all(KEYRING.read(purpose, text) is None for purpose in Purpose if purpose is not Purpose.OPEN)
    return KEYRING.read(Purpose.OPEN, text), BOUNCES.read(text), BOUNCES.find(text)


def a_link(text: str) -> object:
    links = DamagedLinks(KEYRING)
    for before in ("/api/marketing/unsubscribe/", "/api/marketing/click/", "/api/marketing/pixel/"):
        path = links.path(before + text)
        assert KEYRING.read(Purpose.UNSUBSCRIBE, path.removeprefix(before)) is None
        assert path == before + text or path.isascii()
    return links.path(text)


def an_access_token(text: str) -> object:
    read_header(text)
    return asyncio.run(SecretAuthenticator(b"s" * 32, RULES).authenticate(text))


def a_path(text: str) -> object:
    path = crm_path("acme", "contacts", text)
    assert is_one_segment(text)
    assert path.isascii()
    assert path.count("/") == 6
    assert not {"", ".", ".."} & set(path.split("/")[1:])
    return path


def headers(text: str) -> object:
    named = {"user-agent": text, "x-forwarded-for": text, "sec-purpose": text, "purpose": text}
    raw = [(name.encode(), value.encode("utf-8", "replace")) for name, value in named.items()]
    scope = {"type": "http", "client": ("192.0.2.1", 1), "headers": raw}
    return preferred(text), machine_reason(scope, named, proxy_hops=2), client_group(scope, 2)


def a_key(text: str) -> object:
    key = read_key([text])
    assert key == text
    return key


def a_message_with_subject(text: str) -> object:
    return a_message("<p>Hello</p>", subject=text)


READERS: dict[str, Reader] = {
    "HTML": Reader(foreign.html, an_html_body),
    "HTML of a message": Reader(foreign.html, a_message, (TemplateError, NotRenderable)),
    "text of a message": Reader(foreign.html, html_from_text),
    "template": Reader(foreign.template, a_message, (TemplateError, NotRenderable)),
    "subject": Reader(foreign.template, a_message_with_subject, (TemplateError, NotRenderable)),
    "address": Reader(foreign.address, an_address),
    "SMTP reply": Reader(foreign.any_text | foreign.header, a_reply),
    "SMTP connection": Reader(foreign.reply, a_relay, (WireBroken,)),
    "report": Reader(foreign.report, read_report),
    "CSV": Reader(foreign.csv, read_suppressions, (InvalidInput,)),
    "token": Reader(foreign.token, a_token),
    "path of a link": Reader(foreign.token | foreign.html | foreign.header, a_link),
    "access token": Reader(foreign.jwt, an_access_token, (Unauthenticated, Forbidden)),
    "key set": Reader(foreign.key_set, read_key_set, (ValueError,)),
    "CRM page": Reader(foreign.page, partial(read_page, limit=10), CRM),
    "CRM contact": Reader(foreign.contact, read_contact, CRM),
    "CRM count": Reader(foreign.count, read_count, CRM),
    "CRM statuses": Reader(foreign.statuses, read_statuses, CRM),
    "CRM problem": Reader(foreign.problem, read_detail),
    "CRM path": Reader(foreign.any_text | foreign.address, a_path, (AudienceRefused,)),
    "Retry-After": Reader(foreign.header, retry_after_seconds),
    "Idempotency-Key": Reader(foreign.header | foreign.any_text, a_key, (InvalidInput,)),
    "If-Match": Reader(foreign.header, versions_in, (InvalidInput,)),
    "headers of a client": Reader(foreign.header | foreign.any_text, headers),
    "cursor of campaigns": Reader(foreign.cursor, read_campaign_cursor, (InvalidInput,)),
    "cursor of the log": Reader(foreign.cursor, read_log_cursor, (InvalidInput,)),
    "cursor of suppressions": Reader(foreign.cursor, read_suppression_cursor, (InvalidInput,)),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_a_reader_raises_only_the_errors_that_it_documents(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    text = data.draw(reader.inputs)
    with suppress(*reader.errors):
        reader.read(text)
