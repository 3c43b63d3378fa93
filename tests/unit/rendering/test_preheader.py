"""The preheader: hidden text at the start of the HTML body, and only there."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from marketing_service.rendering import (
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    RenderCheck,
    RenderProblem,
    TemplateError,
    TemplateTooCostly,
    compile_message,
)

if TYPE_CHECKING:
    from marketing_service.rendering import CompiledMessage

PUBLIC = "https://portal.example.org"
SOURCE = MessageSource(UUID(int=7), "org", None, "news@shop.example", None, "Hello", "<p>Body</p>", None)
KIM = MergeFields("kim@example.com", "Kim", "O'Neil", "<Big> & Co")
NOBODY = MergeFields("nobody@example.com")
DIV = re.compile(r'<div style="([^"]*)" data-preheader>\n(.*)\n((?:(?:&#847;&zwnj;&nbsp;)+\n)+)</div>\n')


def compiled(preheader: str | None = "Read this", **source: Any) -> CompiledMessage:
    return compile_message(replace(SOURCE, preheader=preheader, **source), public_base_url=PUBLIC, one_click=True)


def recipient(fields: MergeFields = KIM) -> RecipientData:
    return RecipientData(UUID(int=9), fields, datetime(2026, 5, 4, tzinfo=UTC), "token", "open", "click")


def html_of(preheader: str | None = "Read this", fields: MergeFields = KIM, **source: Any) -> str:
    return compiled(preheader, **source).bodies(recipient(fields))[1]


def shown(preheader: str, fields: MergeFields = KIM, **source: Any) -> str:
    """The preheader as it is written in the HTML."""
    (found,) = DIV.findall(html_of(preheader, fields, **source))
    return str(found[1])


@pytest.mark.parametrize(
    "html",
    [
        "@<p>Body</p>",
        "<html><body>@<p>Body</p></body></html>",
        '<!DOCTYPE html>\n<html>\n<head><title>t</title></head>\n<body class="a>b" id=x>@\n<p>Body</p>',
        "<BODY>@Body",
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8></head>\n@<p>Body</p></html>",
        "<!-- <body> --><style>a{}</style><link rel=x>@Body",
        "{% assign x = 'y' %}<!DOCTYPE html><html>@<p>Body {{ x }}</p></html>",
        "<body {% if firstName %}class='x'{% endif %}>@<p>Body</p></body>",
        "{% if firstName %}<body class=a>{% else %}<body class=b>{% endif %}@<p>Body</p></body>",
        "@{% if firstName %}<p>Body</p>{% endif %} <p>x</p>",
        "<p>x</p><body>@Body",
        "@{{ firstName }} Body",
        "<head><title>t</title>@<p>Body</p>",
        "\ufeff<html><body>@Body</body></html>",
        "\ufeff<html>@<p>Body</p></html>",
        "@{% if lastName %}<html><body>Body</body></html>{% else %}<html><body>Other</body></html>{% endif %}",
        "@<p>Body <a href='x",
        "<body>@</body>",
    ],
)
def test_it_is_at_the_start_of_the_body(html: str) -> None:
    written = html.replace("@", "")
    with_preheader, without = html_of(html_body=written), html_of(None, html_body=written)
    (found,) = DIV.finditer(with_preheader)
    assert with_preheader[: found.start()] + with_preheader[found.end() :] == without, "nothing else changes"
    before = html.partition("@")[0]
    assert found.start() == len(html_of(None, html_body=before + "|").partition("|")[0])


def test_a_derived_body_has_it_and_a_text_does_not() -> None:
    text, html = compiled(html_body=None, text_body="Body").bodies(recipient())
    assert DIV.search(html)
    assert html.index("data-preheader") < html.index("<p>Body</p>")
    assert "Read this" not in text
    text, html = compiled(text_body=None).bodies(recipient())
    assert text.startswith("Body\n")
    assert "Read this" not in text


class Visible(HTMLParser):
    """The text that is not in an element with `display: none`."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._depth = self._hidden_at = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"img", "br", "meta"}:
            self._depth += 1
            if not self._hidden_at and "display: none" in (dict(attrs).get("style") or ""):
                self._hidden_at = self._depth

    def handle_endtag(self, tag: str) -> None:
        if self._depth == self._hidden_at:
            self._hidden_at = 0
        self._depth -= 1

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden_at else data


def test_no_reader_of_the_message_sees_it() -> None:
    visible = Visible()
    visible.feed(html_of(html_body="<body><p>Body</p></body>"))
    assert visible.text.split() == ["Body", "Unsubscribe"]
    (found,) = DIV.findall(html_of())
    for way in ("display: none", "max-height: 0", "overflow: hidden", "opacity: 0", "mso-hide: all"):
        assert way in found[0]


def test_it_is_filled_in_and_escaped() -> None:
    assert shown("For {{ firstName }} at {{companyName}}") == "For Kim at &lt;Big&gt; &amp; Co"
    assert shown("For {{ firstName | default: 'R&D <b>' }}!", NOBODY) == "For R&amp;D &lt;b&gt;!"
    assert shown("<b>2 > 1</b> & \"more\"{{ '<i>' }}") == "&lt;b&gt;2 &gt; 1&lt;/b&gt; &amp; &#34;more&#34;&lt;i&gt;"
    assert shown("{% if firstName %}Dear {{ firstName | upcase }}{% else %}Hello{% endif %}") == "Dear KIM"
    assert shown("Hi", html_body="<body>{{ '{{' }}</body>") == "Hi"


def test_for_a_contact_with_nothing_to_show_there_is_no_preheader() -> None:
    assert shown("{{ firstName }}") == "Kim"
    for preheader in ("{{ firstName }}", "{% if firstName %}Hi{% endif %} ", None, "", "  "):
        assert html_of(preheader, NOBODY) == html_of(None, NOBODY)


def test_its_variables_are_its_own() -> None:
    html = html_of("{% assign x = 'own' %}{{ x }}", html_body="{% assign x = 'theirs' %}<p>{{ x }}</p>")
    assert "\nown\n" in html
    assert "<p>theirs</p>" in html
    html = html_of("{% assign email = 'own' %}{{ email }}", html_body="<p>{{ email | upcase }}</p>")
    assert "<p>KIM@EXAMPLE.COM</p>" in html


def test_it_has_a_budget_of_its_own() -> None:
    loop = "{% for a in (1..100) %}{% if firstName %}{{ a }}{% endif %}{% endfor %}"
    with pytest.raises(TemplateTooCostly):
        compiled(loop.replace("{{ a }}", "{{ a" + " | upcase" * 16 + " }}"))
    most = next(count for count in range(1, 99) if is_too_costly(f"<p>{loop * (count + 1)}</p>"))
    assert "100" in html_of(loop, html_body=f"<p>{loop * most}</p>")


def is_too_costly(html_body: str) -> bool:
    try:
        compiled(None, html_body=html_body)
    except TemplateTooCostly:
        return True
    return False


def test_an_invalid_one_is_refused() -> None:
    for preheader in ("{{ phone }}", "{{ unsubscribeUrl }}", "{% if %}"):
        with pytest.raises(TemplateError):
            compiled(preheader)


@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("preheader", ["Grüße an {{ firstName }}", "{{ companyName }}", "Read this"])
def test_the_message_reads_back_as_it_was_written(preheader: str, eight_bit: bool) -> None:
    message = compiled(preheader, html_body="<body><a href='https://x.example'>x</a></body>", track_clicks=True)
    rendered = message.render(recipient(), eight_bit=eight_bit)
    assert rendered.count(b"8bit") == 2 * eight_bit, "no line is too long for an 8-bit message"
    parts = message_from_bytes(rendered, policy=policy.default).iter_parts()
    assert [part.get_content().replace("\r\n", "\n") for part in parts] == message.bodies(recipient())


def test_the_check_renders_it() -> None:
    loops = "{% for a in (1..100) %}{% if firstName == 'Eve' %}{% for b in (1..100) %}{{ b }}{% endfor %}{% endif %}"
    render_check = RenderCheck("x", "<p>x</p>", None, f"{loops}{{% endfor %}}")
    assert list(render_check.problems(KIM)) == []
    assert list(render_check.problems(MergeFields("e@x.example", "Eve"))) == [("preheader", RenderProblem.BROKEN)]
    assert list(RenderCheck("x", "<p>x</p>", None, "{{ firstName }}").problems(NOBODY)) == []
    assert RenderCheck("x", "<p>x</p>", None, "{{ firstName }}").placeholders == {"firstName": True}


def test_a_contact_for_whom_it_cannot_be_rendered_gets_no_message() -> None:
    message = compiled("x{% if firstName == 'Eve' %}{% if email > 3 %}{% endif %}{% endif %}")
    with pytest.raises(NotRenderable, match="cannot be filled in"):
        message.render(recipient(MergeFields("e@x.example", "Eve")))
