"""The compiled message: its header and its two bodies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from marketing_service.rendering import (
    SAMPLE,
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    TemplateError,
    compile_message,
    message,
    one_click_possible,
)

if TYPE_CHECKING:
    from email.message import EmailMessage

PUBLIC = "https://portal.example.org"
UNSUBSCRIBE = f"{PUBLIC}/api/marketing/unsubscribe/un-sub_1"
PIXEL = f"{PUBLIC}/api/marketing/pixel/op-en_1.gif"
SOURCE = MessageSource(
    campaign_id=UUID(int=7),
    org_id="org-secret",
    from_name="Zoë's Shop, Ltd",
    from_email="news@shop.example",
    reply_to="help@shop.example",
    subject="Hello {{ firstName | default: 'you' }}",
    html_body="<html><body><p>Hi {{ firstName }}</p></body></html>",
    text_body="Hi {{ firstName }}",
)
RECIPIENT = RecipientData(
    send_id=UUID(int=9),
    fields=MergeFields("kim@example.com", "Kim", "O'Neil", "<Big> & Co"),
    date=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
    unsubscribe_token="un-sub_1",
    open_token="op-en_1",
)


def sent(
    recipient: RecipientData = RECIPIENT, *, one_click: bool = True, eight_bit: bool = False, **source: Any
) -> bytes:
    compiled = compile_message(replace(SOURCE, **source), public_base_url=PUBLIC, one_click=one_click)
    return compiled.render(recipient, eight_bit=eight_bit)


def read(rendered: bytes) -> tuple[EmailMessage, str, str]:
    parsed = message_from_bytes(rendered, policy=policy.default)
    assert not parsed.defects
    text, html = parsed.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    return parsed, text.get_content().replace("\r\n", "\n"), html.get_content().replace("\r\n", "\n")


def test_the_header_has_exactly_these_fields() -> None:
    parsed, _, _ = read(sent())
    assert list(parsed.items()) == [
        ("From", '"Zoë\'s Shop, Ltd" <news@shop.example>'),
        ("To", "kim@example.com"),
        ("Reply-To", "help@shop.example"),
        ("Subject", "Hello Kim"),
        ("Date", "Mon, 04 May 2026 03:02:01 +0000"),
        ("Message-ID", f"<{UUID(int=9).hex}@shop.example>"),
        ("List-Unsubscribe", f"<{UNSUBSCRIBE}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Id", "<2f627f99a5328b27.marketing.portal.example.org>"),
        ("Feedback-ID", f"{UUID(int=7).hex}:2f627f99a5328b27:campaign:marketing"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative; boundary="=_{UUID(int=7).hex}"'),
    ]


def test_no_header_reveals_the_organisation() -> None:
    assert b"org-secret" not in sent()


def test_list_unsubscribe_is_one_plain_line_however_long_the_address_is() -> None:
    """RFC 8058 §4: one https URI; folding or encoding it would break it."""
    long = f"https://{'a' * 63}.example.org/{'b' * 400}"
    compiled = compile_message(SOURCE, public_base_url=long, one_click=True)
    line = f"\r\nList-Unsubscribe: <{long}/api/marketing/unsubscribe/un-sub_1>\r\nList-Unsubscribe-Post: "
    assert line.encode() in compiled.render(RECIPIENT)


def test_without_one_click_there_is_no_list_unsubscribe_at_all() -> None:
    parsed, text, html = read(sent(one_click=False))
    assert not [name for name in parsed if name.startswith("List-Unsubscribe")]
    assert UNSUBSCRIBE in text
    assert UNSUBSCRIBE in html


def test_reply_to_and_the_senders_name_may_be_missing() -> None:
    parsed, _, _ = read(sent(reply_to=None, from_name=None))
    assert "Reply-To" not in parsed
    assert parsed["From"] == "news@shop.example"


@pytest.mark.parametrize("eight_bit", [False, True])
def test_both_bodies_have_the_link_and_only_the_html_has_the_pixel(eight_bit: bool) -> None:
    _, text, html = read(sent(eight_bit=eight_bit))
    assert text == f"Hi Kim\n\n-- \nUnsubscribe: {UNSUBSCRIBE}\n"
    assert html.startswith("<html><body><p>Hi Kim</p>\n<div ")
    assert html.count(f'<a href="{UNSUBSCRIBE}"') == 1
    assert html.endswith(f'</div>\n<img src="{PIXEL}" width="1" height="1" alt="">\n</body></html>\n')
    assert "pixel" not in text


def test_without_an_open_token_there_is_no_pixel() -> None:
    _, _, html = read(sent(RECIPIENT._replace(open_token=None)))
    assert "<img" not in html


def test_a_test_says_so_in_its_subject() -> None:
    parsed, _, _ = read(sent(RECIPIENT._replace(test=True)))
    assert parsed["Subject"] == "[Test] Hello Kim"


def test_every_attempt_renders_the_same_bytes() -> None:
    """Even in another worker, which compiles the message itself."""
    assert sent() == sent()


def test_a_missing_text_or_html_is_derived() -> None:
    _, text, html = read(
        sent(text_body=None, html_body="<p>Hi {{ companyName }},<br>bye</p>{% if email %}<p>x</p>{% endif %}")
    )
    assert text == f"Hi <Big> & Co,\nbye\n\nx\n\n-- \nUnsubscribe: {UNSUBSCRIBE}\n"
    assert html.startswith("<p>Hi &lt;Big&gt; &amp; Co,<br>bye</p><p>x</p>\n<div")
    _, text, html = read(sent(html_body="", text_body="Hi {{ companyName }}\r\n\r\nbye\r\n"))
    assert text.startswith("Hi <Big> & Co\n\nbye\n\n-- \n")
    assert "<p>Hi &lt;Big&gt; &amp; Co</p>\n<p>bye</p>\n\n<div" in html


def test_the_message_is_7_bit_or_8_bit_as_requested() -> None:
    body = "Grüße an {{ firstName }}\n"
    assert sent(text_body=body).isascii()
    assert b"8bit" not in sent(text_body=body)
    rendered = sent(text_body=body, eight_bit=True)
    assert "Grüße an Kim\r\n".encode() in rendered
    assert rendered.count(b"Content-Transfer-Encoding: 8bit\r\n") == 2


@pytest.mark.parametrize(
    ("text_body", "values"),
    [
        ("é" * 600, SAMPLE),
        ("{{ companyName }} " * 200, MergeFields("kim@example.com", company_name="x" * 900)),
        (f"--=_{UUID(int=7).hex}", SAMPLE),
        ("{{ companyName }}--", MergeFields("kim@example.com", company_name=f"--=_{UUID(int=7).hex}")),
    ],
)
def test_a_body_that_cannot_be_8_bit_is_quoted_printable(text_body: str, values: MergeFields) -> None:
    """Lines over 998 octets, and a line that would end the part."""
    rendered = sent(RECIPIENT._replace(fields=values), text_body=text_body, eight_bit=True)
    assert rendered.count(b"quoted-printable") == 1
    assert max(map(len, rendered.split(b"\r\n"))) <= 998
    _, text, _ = read(rendered)
    assert text.startswith(text_body.replace("{{ companyName }}", values.company_name or ""))


def test_long_values_on_different_lines_stay_8_bit() -> None:
    values = MergeFields("kim@example.com", company_name="x" * 900)
    rendered = sent(RECIPIENT._replace(fields=values), text_body="{{ companyName }}\n" * 3, eight_bit=True)
    assert b"quoted-printable" not in rendered


def test_a_preview_has_no_active_link_and_no_pixel() -> None:
    preview = compile_message(SOURCE, public_base_url=PUBLIC, one_click=True).preview(SAMPLE)
    assert preview.subject == "Hello Alex"
    assert preview.text == "Hi Alex\n\n-- \nUnsubscribe: #\n"
    assert '<a href="#"' in preview.html
    assert PUBLIC not in preview.html
    assert "<img" not in preview.html


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"html_body": None, "text_body": " \n"}, "neither an HTML nor a text body"),
        ({"from_email": "jörg@example.com"}, "not plain ASCII"),
        ({"reply_to": "nobody"}, "not of the form"),
    ],
)
def test_a_message_that_cannot_be_compiled_says_why(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NotRenderable, match=sentence):
        sent(**changed)


@pytest.mark.parametrize("field", ["subject", "html_body", "text_body"])
def test_an_invalid_template_is_refused(field: str) -> None:
    changed: dict[str, Any] = {field: "{{ phone }}"}
    with pytest.raises(TemplateError, match="phone"):
        sent(**changed)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "portal.example.org",
        "ftp://x",
        "https://x.org/a b",
        "https://x.org/>",
        "https://x.org/\r\nBcc: a",
        "https://x.org?a=b",
        "https://" + "a" * 500,
    ],
)
def test_a_public_address_that_could_break_a_header_is_refused(url: str) -> None:
    with pytest.raises(NotRenderable, match="public address"):
        compile_message(SOURCE, public_base_url=url, one_click=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"unsubscribe_token": "a>\r\nBcc: x@example.com"}, "base64url"),
        ({"unsubscribe_token": ""}, "base64url"),
        ({"open_token": '"><script>'}, "base64url"),
        ({"fields": MergeFields(None)}, "not of the form"),
        ({"fields": MergeFields("jörg@example.com")}, "not plain ASCII"),
        ({"fields": MergeFields("a@example.com\r\nBcc: b@example.com")}, "No mail can be sent"),
    ],
)
def test_a_recipient_that_cannot_be_mailed_says_why(change: dict[str, Any], sentence: str) -> None:
    compiled = compile_message(SOURCE, public_base_url=PUBLIC, one_click=True)
    with pytest.raises(NotRenderable, match=sentence):
        compiled.render(RECIPIENT._replace(**change))


def test_a_message_that_is_not_parsed_as_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No source is known that causes this, so the test puts the fault into the header."""
    monkeypatch.setattr(message, "date_field", lambda _: b"Date: today\r\nBcc: x@example.com\r\n")
    with pytest.raises(NotRenderable, match="does not read back"):
        sent()


@pytest.mark.parametrize(
    ("url", "possible"),
    [
        ("https://portal.example.org", True),
        ("http://portal.example.org", False),
        ("http://localhost:8080", True),
        ("http://api.localhost", True),
        ("http://127.0.0.5:1", True),
        ("http://[::1]:8080", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.org", False),
    ],
)
def test_one_click_needs_https_or_loopback(url: str, possible: bool) -> None:
    assert one_click_possible(url) is possible


def test_a_public_ip_address_gives_a_list_id_of_localhost() -> None:
    compiled = compile_message(SOURCE, public_base_url="http://[::1]:8080", one_click=True)
    assert b"List-Id: <2f627f99a5328b27.marketing.localhost>\r\n" in compiled.render(RECIPIENT)


def test_a_byte_order_mark_of_a_campaign_that_is_already_saved_is_not_sent() -> None:
    saved = replace(SOURCE, html_body="\ufeff<html><p>x</p></html>", text_body="\ufeffx")
    shown = compile_message(saved, public_base_url=PUBLIC, one_click=True).preview(SAMPLE)
    assert (shown.html[0], shown.text[0]) == ("<", "x")
