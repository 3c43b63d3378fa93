"""The web addresses that an operator configures: their normal form, and which of them are refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest

from marketing_service.rendering import (
    SAMPLE,
    MessageSource,
    NotRenderable,
    RecipientData,
    compile_message,
    public_url,
    web_url,
)
from marketing_service.rendering.web_urls import MAX_PUBLIC_URL

SOURCE = MessageSource(UUID(int=1), "org", None, "news@shop.example", None, "Hello", "<p>x</p>", None)

NORMAL = [
    ("https://mail.example.com", "https://mail.example.com"),
    ("HTTPS://Mail.Example.COM", "https://mail.example.com"),
    ("https://mail.example.com///", "https://mail.example.com"),
    ("https://mail.example.com:443/", "https://mail.example.com"),
    ("http://mail.example.com:80", "http://mail.example.com"),
    ("http://mail.example.com:443", "http://mail.example.com:443"),
    ("https://mail.example.com:", "https://mail.example.com"),
    ("https://mail.example.com:0443", "https://mail.example.com"),
    (" https://mail.example.com\n", "https://mail.example.com"),
    ("https://mail.example.com./", "https://mail.example.com"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("https://BÜCHER.example/x", "https://xn--bcher-kva.example/x"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://example.com/Mail/v1.0/a_b~c-d/", "https://example.com/Mail/v1.0/a_b~c-d"),
    ("http://localhost:8000", "http://localhost:8000"),
    ("http://192.0.2.1:8000/x", "http://192.0.2.1:8000/x"),
    ("http://[2001:DB8:0:0::1]:8000", "http://[2001:db8::1]:8000"),
]
REFUSED = [
    ("", "http:// or https://"),
    ("mail.example.com", "http:// or https://"),
    ("ftp://mail.example.com", "http:// or https://"),
    ("https:/mail.example.com", "http:// or https://"),
    ("https://", "host and port"),
    ("https:///x", "host and port"),
    ("https://mail.example.com:x", "host and port"),
    ("https://mail.example.com:99999", "65535"),
    ("https://mail.example.com:0", "65535"),
    ("https://mail.example.com:99999999", "host and port"),
    ("https://[::1", "host and port"),
    ("https://[1.2.3.4]", "host"),
    ("https://[:::1]", "IPv6"),
    ("https://[fe80::1%25eth0]", "host"),
    ("https://1.2.3", "IPv4"),
    ("https://2130706433", "IPv4"),
    ("https://-x.example", "neither a domain"),
    ("https://a..example", "neither a domain"),
    ("https://a,b", "neither a domain"),
    ("https://exa(mple.com", "neither a domain"),
    (f"https://{'a.' * 130}example", "neither a domain"),
    ("https://xn--a.example/\u00e9\u200b", "path"),
    ("https://mail.example.com/?a=b", "query"),
    ("https://mail.example.com?", "query"),
    ("https://mail.example.com/#x", "fragment"),
    ("https://user@mail.example.com", "user name"),
    ("https://user:secret@mail.example.com", "user name"),
    ("https://mail.example.com/a b", "blank"),
    ("https://mail.example.com/\u00a0", "blank"),
    ("https://mail .example.com", "blank"),
    ("https://mail.example.com/\x7f", "control"),
    ("https://mail.example.com/a\tb", "control"),
    ("https://mail.example.com/%20(", "path"),
    ("https://mail.example.com/a(b)", "path"),
    ("https://mail.example.com/<x>", "path"),
    ('https://mail.example.com/"', "path"),
    ("https://mail.example.com/a//b", "path"),
    ("https://mail.example.com/a/../b", "path"),
    ("https://mail.example.com/./b", "path"),
    ("https://mail.example.com\\x", "neither a domain"),
    ("https://mail_1.example.com", "underscore"),
    (f"https://mail.example.com/{'x' * MAX_PUBLIC_URL}", "longer than 500"),
    (f"https://mail.example.com/{'x' * 5000}", "longer than 2,000"),
]


@pytest.mark.parametrize(("written", "normal"), NORMAL)
def test_the_public_address_has_one_form_and_a_message_can_contain_it(written: str, normal: str) -> None:
    assert public_url(written) == public_url(normal) == normal
    recipient = RecipientData(UUID(int=2), SAMPLE, datetime(2026, 5, 4, tzinfo=UTC), "token", "token")
    text, html = compile_message(SOURCE, public_base_url=written, one_click=True).bodies(recipient)
    assert f"{normal}/api/marketing/unsubscribe/token\n" in text
    assert f'"{normal}/api/marketing/pixel/token.gif"' in html


@pytest.mark.parametrize(("written", "words"), REFUSED)
def test_a_public_address_that_a_message_cannot_contain_is_refused(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        public_url(written)
    assert "secret" not in str(refused.value)
    with pytest.raises(NotRenderable, match="public address"):
        compile_message(SOURCE, public_base_url=written, one_click=True)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (
            "HTTPS://Portal.Example.org/api/Login?next=%2Fx&a=(b)",
            "https://portal.example.org/api/Login?next=%2Fx&a=(b)",
        ),
        ("http://crm_service:9000/", "http://crm_service:9000/"),
        ("https://bücher.example:443/keys", "https://xn--bcher-kva.example/keys"),
    ],
)
def test_another_address_keeps_its_path_and_query(written: str, normal: str) -> None:
    assert web_url(written, query=True) == normal


@pytest.mark.parametrize(
    "written",
    ["https://a.example/ü", "https://a.example/<", "https://a.example/%zz", "https://a.example/'\"", "https://_/x"],
)
def test_another_address_with_a_character_that_a_url_cannot_contain_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"percent-encode|domain"):
        web_url(written, query=True)
    with pytest.raises(ValueError, match="query"):
        web_url("https://a.example/?x")
