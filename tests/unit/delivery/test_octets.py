"""The octets that are sent to the relay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.delivery.octets import dot_stuffed, is_smtp_mailbox, mail_from, rcpt_to


@pytest.mark.parametrize(
    ("content", "octets"),
    [
        (b"a\r\n", b"a\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"a\r\n.\r\n..b\r\n", b"a\r\n..\r\n...b\r\n"),
        (b"a.b\r\n", b"a.b\r\n"),
        (b"no end", b"no end\r\n"),
        (b"", b"\r\n"),
    ],
)
def test_dots_are_doubled_and_lines_end_in_crlf(content: bytes, octets: bytes) -> None:
    assert dot_stuffed(content) == octets


@settings(deadline=None)
@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"MAIL"]), max_size=30).map(b"".join))
def test_no_message_contains_its_final_dot(content: bytes) -> None:
    """No line is a lone dot, and undoing the stuffing gives the message."""
    octets = dot_stuffed(content)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert b"." not in lines
    back = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert back == content.removesuffix(b"\r\n")


@pytest.mark.parametrize(
    "address", ["a@b", "bob.smith+tag@example.com", '"a b>c"@example.com', "o'neil@x.co", "a@[192.0.2.1]"]
)
def test_addresses_that_are_valid_in_a_command(address: str) -> None:
    assert is_smtp_mailbox(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@b",
        "a@",
        "a b@c",
        "a@b>\r\nRCPT TO:<x@y",
        "a@b\n",
        "a>@b",
        "<a@b>",
        "a@b c",
        "jörg@example.com",
        "a@münchen.de",
        '"a\r\nb"@c',
        "a\0@b",
    ],
)
def test_addresses_that_are_not_valid_in_a_command(address: str) -> None:
    assert not is_smtp_mailbox(address)


def test_mail_has_size_and_body_if_the_relay_supports_them() -> None:
    assert mail_from("a@b", {}, 12) == b"MAIL FROM:<a@b>\r\n"
    assert mail_from("a@b", {"size": "100", "8bitmime": ""}, 12) == b"MAIL FROM:<a@b> SIZE=12 BODY=8BITMIME\r\n"
    assert mail_from("", {"size": ""}, 12) == b"MAIL FROM:<> SIZE=12\r\n"
    assert rcpt_to("a@b") == b"RCPT TO:<a@b>\r\n"
