"""Header fields: the standard library's parser reads exactly the value that was written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import format_datetime

import idna
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketing_service.rendering import NotRenderable, ascii_address, header_text_problem
from marketing_service.rendering.headers import date_field, mailbox_field, text_field
from marketing_service.rendering.template import clean

HOSTILE = [
    "\r\nBcc: x@example.com",
    "=?utf-8?q?=0d=0aBcc:_x?=",
    "\n\n",
    "<a@example.com>",
    '"',
    "\\",
    ",",
    "é",
    "👩‍👩‍👧 ",
    "x" * 80,
]
texts = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30)), max_size=12).map("".join)


def lines(field: bytes) -> list[bytes]:
    assert field.endswith(b"\r\n")
    assert field.count(b"\r") == field.count(b"\n") == field.count(b"\r\n")
    return field.split(b"\r\n")[:-1]


@settings(deadline=None)
@given(texts)
@example("<a@example.com>" + "0" * 53)
def test_a_text_field_is_read_back_as_one_field(value: str) -> None:
    field = text_field("Subject", value)
    parsed = message_from_bytes(field + b"\r\n", policy=policy.default)
    assert parsed.keys() == ["Subject"]
    assert parsed["Subject"] == clean(value)
    assert max(map(len, lines(field))) <= 76
    assert all(line.startswith(b" ") for line in lines(field)[1:])


@settings(deadline=None)
@given(texts)
def test_a_display_name_is_read_back_as_one_mailbox(value: str) -> None:
    field = mailbox_field("From", value, "news@example.com")
    parsed = message_from_bytes(field + b"\r\n", policy=policy.default)
    assert parsed.keys() == ["From"]
    assert [address.addr_spec for address in parsed["From"].addresses] == ["news@example.com"]
    assert max(map(len, lines(field))) <= 250
    raw = message_from_bytes(field + b"\r\n")["From"]
    if clean(value).isascii() and "=?" not in value and len(clean(value)) <= 200:
        assert parsed["From"].addresses[0].display_name == clean(value)
    else:  # policy.default puts spaces between the encoded words of a name (cpython #92081)
        assert str(make_header(decode_header(raw.rpartition(" <")[0].rstrip()))) == clean(value)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("News", b"Subject: News\r\n"),
        ("", b"Subject: \r\n"),
        (" a \t b ", b"Subject: a b\r\n"),
        ("word " * 20, b"Subject: " + b"word " * 12 + b"word\r\n" + b" word" * 7 + b"\r\n"),
        ("Zoë", b"Subject: =?utf-8?b?Wm/Dqw==?=\r\n"),
        ("=?x", b"Subject: =?utf-8?b?PT94?=\r\n"),
    ],
)
def test_a_subject_is_encoded_only_if_necessary(value: str, field: bytes) -> None:
    assert text_field("Subject", value) == field


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (None, b"From: a@example.com\r\n"),
        (" ", b"From: a@example.com\r\n"),
        ("Acme Ltd", b"From: Acme Ltd <a@example.com>\r\n"),
        ('A. "B" \\ C', b'From: "A. \\"B\\" \\\\ C" <a@example.com>\r\n'),
        ("x" * 70, b"From: " + b"x" * 70 + b"\r\n <a@example.com>\r\n"),
    ],
)
def test_a_display_name_is_quoted_only_if_necessary(name: str | None, field: bytes) -> None:
    assert mailbox_field("From", name, "a@example.com") == field


@pytest.mark.parametrize(
    ("address", "in_ascii"),
    [
        ("A.B+c_d@Example.COM", "A.B+c_d@Example.COM"),
        ("x@localhost", "x@localhost"),
        ("x@münchen.example", "x@xn--mnchen-3ya.example"),
        ("x@MU\u0308NCHEN\u3002example", "x@xn--mnchen-3ya.example"),
        # A label that is ASCII already is not validated as IDNA, as in a domain of only such labels.
        ("x@ab--cd.xn--a.münchen.example", "x@ab--cd.xn--a.xn--mnchen-3ya.example"),
        # In NFD, this domain is longer than 253 characters.
        (
            "x@" + ("\u1112\u1161\u11ab" * 20 + ".") * 6 + "example",
            "x@" + f"{idna.encode(chr(0xD55C) * 20).decode()}." * 6 + "example",
        ),
        ("o'neil@sub.example.co.uk", "o'neil@sub.example.co.uk"),
    ],
)
def test_an_address_is_converted_to_ascii(address: str, in_ascii: str) -> None:
    assert ascii_address(address) == in_ascii


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "name",
        "@example.com",
        "jörg@example.com",
        '"a b"@example.com',
        "a b@example.com",
        "a..b@example.com",
        ".a@example.com",
        "a@example..com",
        "a@.example.com",
        "a@example.com.",
        "a@-example.com",
        "a@exa_mple.com",
        "a@[192.0.2.1]",
        "a@example.com\n",
        "a\r\nBcc: b@example.com",
        "a@example.com>, <b@example.com",
        "a,b@example.com",
        "a" * 65 + "@example.com",
        "a@" + "a." * 126 + "aa",
        "a@xn--\ud800",
        "a@ex ämple.com",
    ],
)
def test_an_address_that_cannot_be_mailed_is_refused(address: str) -> None:
    with pytest.raises(NotRenderable, match="No mail can be sent to or from this address"):
        ascii_address(address)


@pytest.mark.parametrize("value", ["", "Hello", "Größe = 5?", "{{ firstName | default: 'you' }}", "👩‍👩‍👧"])
def test_an_ordinary_text_is_allowed_in_a_header(value: str) -> None:
    assert header_text_problem(value) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\r\nb", "(U+000D) at position 2"),
        ("\x00", "(U+0000) at position 1"),
        ("tab\t", "(U+0009) at position 4"),
        ("\x7f", "(U+007F)"),
        ("a\u2028", "(U+2028)"),
        ("\ud800", "(U+D800)"),
        ("x=?utf-8", '"=?"'),
    ],
)
def test_a_text_that_is_not_allowed_in_a_header_says_why(value: str, problem: str) -> None:
    assert problem in (header_text_problem(value) or "")


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-7, minutes=-30)))))
def test_a_date_is_written_as_by_the_standard_library(date: datetime) -> None:
    expected = format_datetime(date.astimezone(UTC)) if 1 < date.year < 9999 else None
    if expected:
        assert date_field(date) == f"Date: {expected}\r\n".encode()
