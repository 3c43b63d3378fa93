"""Tracked links: which links are tracked, where a click leads, and that nothing else in the message changes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from marketing_service.rendering import (
    MAX_LINKS,
    SAMPLE,
    MergeFields,
    MessageSource,
    NotRenderable,
    RecipientData,
    TemplateError,
    compile_message,
    link_target,
    shown_link,
)
from marketing_service.rendering.hrefs import parse_href
from marketing_service.rendering.language import Escaping
from marketing_service.rendering.links import MAX_LINK
from marketing_service.rendering.template import Template

if TYPE_CHECKING:
    from marketing_service.rendering import CompiledMessage


PUBLIC = "https://portal.example.org"
CLICK = f"{PUBLIC}/api/marketing/click/cl-ick_1"
SOURCE = MessageSource(UUID(int=7), "org", None, "news@shop.example", None, "Hello", "<p>x</p>", "text", True)
KIM = MergeFields("kim+1@example.com", "Kim", "O'Neil", "<Big> & Co")


def compiled(html_body: str | None, **source: Any) -> CompiledMessage:
    return compile_message(replace(SOURCE, html_body=html_body, **source), public_base_url=PUBLIC, one_click=True)


def bodies(message: CompiledMessage, fields: MergeFields = KIM) -> list[str]:
    recipient = RecipientData(UUID(int=9), fields, datetime(2026, 5, 4, tzinfo=UTC), "un-sub_1", "op-en_1", "cl-ick_1")
    return message.bodies(recipient)


def html_of(message: CompiledMessage, fields: MergeFields = KIM) -> str:
    """The HTML without the footer."""
    return bodies(message, fields)[1].partition("\n<div style=")[0]


def with_targets(message: CompiledMessage, html: str, fields: MergeFields) -> str:
    """The HTML with each click URL replaced by the address that the author wrote."""

    def written(found: re.Match[str]) -> str:
        return Template(message.links[int(found[1]) - 1], Escaping.VALUES).fill(fields.cleaned())

    return re.sub(re.escape(CLICK) + "/([0-9]+)", written, html)


@pytest.mark.parametrize(
    ("html", "links"),
    [
        ('<a href="https://a.example/x">x</a>', ["https://a.example/x"]),
        ("<A HREF='http://a.example'>x</A>", ["http://a.example"]),
        ("<a class=b href=https://a.example/?q=1&r=2>x</a>", ["https://a.example/?q=1&r=2"]),
        ("<a href=https://a.example/>x</a>", ["https://a.example/"]),
        ('<a href = "HTTPS://A.example:8443/x#y">x</a>', ["HTTPS://A.example:8443/x#y"]),
        ('<map><area shape=rect href="https://a.example/x"></map>', ["https://a.example/x"]),
        ('<a href="https://a.example/?a=1&amp;b=2&lt=3&copy=4">x</a>', ["https://a.example/?a=1&b=2&lt=3&copy=4"]),
        ('<a href=" https://a.example/a\n b ">x</a>', ["https://a.example/a b"]),
        ('<a href="https://[2001:db8::1]/x">x</a>', ["https://[2001:db8::1]/x"]),
        ('<a href="https://münchen.example/ü">x</a>', ["https://münchen.example/ü"]),
        (
            '<a href="https://a.example/?e={{ email | url_encode }}">x</a>',
            ["https://a.example/?e={{ email | url_encode }}"],
        ),
        (
            '<a href="https://a.example/{% if firstName %}{{ firstName }}{% else %}you{% endif %}">x</a>',
            ["https://a.example/{% if firstName %}{{ firstName }}{% else %}you{% endif %}"],
        ),
        (
            '{% if email %}<a href="https://a.example">x</a>{% else %}<a href="https://b.example">x</a>{% endif %}',
            ["https://a.example", "https://b.example"],
        ),
        (
            '{% for i in (1..3) %}<a href="https://a.example">{{ i }}</a>{% endfor %}<a href="https://b.example">x</a>',
            ["https://a.example", "https://b.example"],
        ),
        ('<a {% if email %}href="https://a.example"{% else %}href="https://b.example"{% endif %}>x</a>',
         ["https://a.example", "https://b.example"]),
        ('<a{% if email %} class="x"{% endif %} href="https://a.example">x</a>', ["https://a.example"]),
        (
            '<!--[if !mso]><!--><a href="https://a.example">x</a><!--<![endif]-->',
            ["https://a.example"],
        ),
        ('<a href="https://b.example">1</a><a href="https://a.example">2</a><a href="https://b.example">3</a>',
         ["https://b.example", "https://a.example"]),
        ('<a href="https://a.example/?a&amp;b">1</a><a href="https://a.example/?a&b">2</a>', ["https://a.example/?a&b"]),
        ('<svg><a href="https://a.example"/></svg>', ["https://a.example"]),
    ],
)  # fmt: skip
def test_links_are_numbered_in_order_of_appearance(html: str, links: list[str]) -> None:
    message = compiled(html)
    assert [shown_link(link) for link in message.links] == links
    assert set(re.findall(re.escape(CLICK) + "/([0-9]+)", html_of(message))) <= {str(n + 1) for n in range(len(links))}
    assert CLICK in html_of(message)
    assert CLICK not in bodies(message)[0], "the text keeps its plain addresses"


@pytest.mark.parametrize(
    "html",
    [
        '<a href="mailto:a@a.example">x</a><a href="tel:+49">x</a><a href="#top">x</a><a href="">x</a><a>x</a>',
        '<a href="//a.example/x">x</a><a href="/x">x</a><a href="ftp://a.example">x</a><a href="https:a.example">x</a>',
        '<a href="javascript:alert(1)">x</a><a href="data:text/html,x">x</a>',
        # The host depends on the contact, or is ambiguous.
        '<a href="https://{{ companyName }}.example/">x</a><a href="{{ companyName }}">x</a>',
        '<a href="https://a.example{{ firstName }}/">x</a><a href="https://a.example:{{ firstName }}/">x</a>',
        '<a href="https://a.example{% if email %}/x{% endif %}">x</a>',
        '<a href="{% if email %}https://a.example{% endif %}">x</a>',
        '<a href="https://a.example@evil.example/">x</a><a href="https://u:p@a.example/">x</a>',
        '<a href="https://a.example\\@evil.example/">x</a><a href="https:\\\\a.example/">x</a>',
        '<a href="https://a.example&#47;x">x</a><a href="https&#58;//a.example/">x</a><a href="https://">x</a>',
        '<a href="https://a%2eexample/">x</a><a href="https://a.example\uff0fevil.example/">x</a>',
        # The target cannot be computed at the time of the click.
        '{% assign g = firstName %}<a href="https://a.example/{{ g }}">x</a>',
        '{% assign firstName = "x" %}<a href="https://a.example/{{ firstName }}">x</a>',
        '{% for i in (1..3) %}<a href="https://a.example/{{ i }}">x</a>{% endfor %}',
        '{% for firstName in (1..3) %}<a href="https://a.example/{{ firstName }}">x</a>{% endfor %}',
        '<a href="https://a.example/{% assign x = firstName %}">x</a>',
        # The text can be changed before it is shown.
        '{% capture c %}<a href="https://a.example">x</a>{% endcapture %}{{ c | upcase }}',
        '{% if email %}{% capture c %}<a href="https://a.example">x</a>{% endcapture %}{{ c }}{% endif %}',
        """{{ '<a href="https://a.example">x</a>' }}""",
        # This is not a link of the message.
        '<base href="https://a.example/"><link href="https://a.example/x.css"><img src="https://a.example/x.png">',
        '<!-- <a href="https://a.example">x</a> --><!--[if mso]><a href="https://a.example">x</a><![endif]-->',
        '<style>a[href="https://a.example"]{}</style><textarea><a href="https://a.example"></textarea>',
        '{% comment %}<a href="https://a.example">x</a>{% endcomment %}',
        '<p title=\'<a href="https://a.example">\'>https://a.example</p>',
        '<a data-href="https://a.example" xlink:href="https://a.example" href>x</a>',
        '<abbr href="https://a.example">x</abbr><form action="https://a.example"></form>',
        '<a {{ firstName }}href="https://a.example">x</a>',
        # Without quotes, Liquid can move the end of the value.
        "<a href=https://a.example/{{ firstName }}>x</a><a href=https://a.example {%- if email %}x{% endif %}>x</a>",
        f'<a href="{PUBLIC}/api/marketing/unsubscribe/x">x</a>',
        f'<a href="https://a.example/{"x" * MAX_LINK}">x</a>',
        '<a href="https://a.example/x',
    ],
)  # fmt: skip
def test_other_addresses_are_not_changed(html: str) -> None:
    message = compiled(html)
    assert message.links == ()
    assert bodies(message) == bodies(compiled(html, track_clicks=False))


def test_without_tracking_nothing_is_tracked_and_no_token_is_needed() -> None:
    message = compiled('<a href="https://a.example">x</a>', track_clicks=False)
    assert message.links == ()
    assert html_of(message) == '<a href="https://a.example">x</a>'


def test_the_footers_link_and_the_preview_are_not_tracked() -> None:
    message = compiled('<a href="https://a.example">x</a>')
    assert f'href="{PUBLIC}/api/marketing/unsubscribe/un-sub_1"' in bodies(message)[1]
    assert "click/" not in message.preview(SAMPLE).html


def test_a_message_that_tracks_clicks_needs_its_token() -> None:
    recipient = RecipientData(UUID(int=9), KIM, datetime(2026, 5, 4, tzinfo=UTC), "un-sub_1", "op-en_1")
    with pytest.raises(NotRenderable):
        compiled('<a href="https://a.example">x</a>').render(recipient)


@pytest.mark.parametrize(("between", "is_eight_bit"), [("\n", True), ("", False)])
def test_many_links_are_sent_in_8_bit_if_their_lines_are_short_enough(between: str, is_eight_bit: bool) -> None:
    message = compiled(between.join(f'é<a href="https://a.example/{n}">{{{{ firstName }}}}</a>' for n in range(40)))
    recipient = RecipientData(UUID(int=9), KIM, datetime(2026, 5, 4, tzinfo=UTC), "un-sub_1", "op-en_1", "cl-ick_1")
    rendered = message.render(recipient, eight_bit=True)
    assert max(map(len, rendered.split(b"\r\n"))) <= 998
    assert (rendered.count(b"8bit") == 2) is is_eight_bit


def test_the_links_of_html_made_from_a_text_are_tracked_too() -> None:
    text = """See https://a.example/?a=1&b={{ firstName | default: 'you' }}. Or {{ firstName }} https://b.example/{{
    companyName | append: "R&D" }}."""
    message = compiled(None, text_body=text)
    assert [shown_link(link) for link in message.links] == ["https://a.example/?a=1&b={{ firstName | default: 'you' }}"]
    assert f'<a href="{CLICK}/1">https://a.example/?a=1&amp;b=Kim</a>' in bodies(message)[1]
    assert "https://a.example/?a=1&b=Kim" in bodies(message)[0]


def test_links_beyond_the_maximum_are_not_changed() -> None:
    html = "".join(f'<a href="https://a.example/{n}">x</a>' for n in range(MAX_LINKS + 1)) * 2
    message = compiled(html)
    assert len(message.links) == MAX_LINKS
    assert html_of(message).count(f'"https://a.example/{MAX_LINKS}"') == 2
    assert html_of(message).count(CLICK) == 2 * MAX_LINKS


def test_stored_links_keep_their_numbers() -> None:
    """Even if another version of this code would number or track other links."""
    html = '<a href="https://a.example">1</a><a href="https://b.example">2</a><a href="https://c.example">3</a>'
    message = compiled(html, known_links=("https://x.example", "https://c.example", "https://a.example"))
    assert html_of(message) == (f'<a href="{CLICK}/3">1</a><a href="https://b.example">2</a><a href="{CLICK}/2">3</a>')
    assert message.links == ("https://x.example", "https://c.example", "https://a.example")
    assert html_of(compiled(html, known_links=())) == html


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("https://a.example/?a=1&amp;b=2", "https://a.example/?a=1&b=2"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/?n={{ lastName }}&c={{ companyName }}", "https://a.example/?n=O'Neil&c=%3CBig%3E%20&%20Co"),
        ("https://a.example/?c={{ companyName | url_encode }}", "https://a.example/?c=%3CBig%3E+%26+Co"),
        ("https://a.example/%20%C3%A9#f", "https://a.example/%20%C3%A9#f"),
        ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/%C3%BC"),
        ("\n https://a.example/a\r\nb\t\x0bc ", "https://a.example/ab%0Bc"),
        ("https://a.example/&NotARef;&#x41;&#65&amp", "https://a.example/&NotARef;AA&"),
        ("https://a.example/{{ firstName }}/..//evil.example", "https://a.example/Kim/..//evil.example"),
        ("https://a.example/\\evil?a\\b", "https://a.example//evil?a%5Cb"),
        # None of these can occur in a message, and none has a target.
        ("https://{{ firstName }}.example/", None),
        ("https://a.example{{ firstName }}", None),
        ("javascript:alert(1)", None),
        ("//evil.example", None),
        ("https://a.example@evil.example", None),
        ("https://a.example/{{ nothing }}", None),
        ("", None),
    ],
)
def test_the_target_of_a_click(link: str, target: str | None) -> None:
    assert link_target(link, KIM) == target


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=30))
def test_a_contacts_values_change_neither_host_nor_header(name: str, company: str) -> None:
    fields = MergeFields("kim@example.com", name, None, company)
    target = link_target("https://a.example/{{ firstName }}?c={{companyName}}#{{ firstName }}", fields)
    assert target is not None
    assert re.fullmatch(r"https://a\.example/[!-~]*", target)


PIECES = [
    '<a href="https://a.example/?x=1&amp;y=2">',
    '<a href="https://a.example/?x=1&y=2">',
    "<a href='https://b.example/{{ firstName }}'>",
    '<a href="https://b.example/{{ companyName | truncate: 3 }}/{{ lastName | default: "x" | upcase }}">',
    "<a href=https://c.example/ class=x>",
    "<a href=https://c.example/ {%- if email -%} title='y'{% endif %}>",
    '<area href=" https://d.example/\n{{- lastName -}} ">',
    '<a {% if firstName %}href="https://e.example"{% else %}href="mailto:{{ email }}"{% endif %}>',
    '<a title="',
    "<a href='",
    '"',
    "'",
    ">",
    "</a>",
    "<!--",
    "-->",
    "<style>",
    "</style>",
    "<base href='https://f.example'>",
    "https://g.example/",
    "{{ firstName }}",
    "{{- lastName -}}",
    "{% if companyName %}\n{% endif %}",
    "{% assign lastName = 'z' %}",
    "{% capture c %}<a href='https://h.example'>{% endcapture %}{{ c | size }}{{ c }}",
    "{% for i in (1..2) %}<a href='https://i.example/{{ i }}'><a href='https://j.example/'>{% endfor %}",
    "{% for email in (1..2) %}<a href='https://k.example/{{ email }}'>{% endfor %}",
    "{%- if email -%} <a href='https://l.example/'> {%- else -%} <a href='https://m.example'> {%- endif -%}",
    "{",
    "{ {",
    "\U000ffffc1\U000ffffc",
    "\U000ffffd",
    "</body>",
    "\n",
    " ",
    "&amp;",
]
markup = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
values = (
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(["<b>&'\"", "a b", "https://evil.example", "\U000ffffc2\U000ffffc"])
)


@settings(max_examples=100, deadline=None)
@given(markup, st.builds(MergeFields, st.just("kim@example.com"), values, values, values), st.booleans())
def test_with_the_original_addresses_the_message_equals_the_one_without_tracking(
    written: str, fields: MergeFields, as_text: bool
) -> None:
    source: dict[str, str | None] = {"html_body": f"{written}.", "text_body": None}
    if as_text:
        source = {"html_body": None, "text_body": f"{written}."}
    try:
        untracked = compiled(**source, track_clicks=False)
    except TemplateError:  # two adjacent braces
        assume(False)
    tracked = compiled(**source)
    text, html = bodies(tracked, fields)
    plain_text, plain_html = bodies(untracked, fields)
    assert text == plain_text
    # Two spellings of one address are one link.
    assert parse_href(with_targets(tracked, html, fields)) == parse_href(plain_html)
    for link in tracked.links:
        target = link_target(link, fields)
        assert target is not None
        assert re.match(r"https://[a-m]\.example(?=[/?]|$)", target)
    again = compiled(**source, known_links=tracked.links)
    assert bodies(again, fields) == [text, html]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://a.example/">',
        "<a href=",
        "<a href='https://",
        "<a href=https://a.example ",
        '<a href="https://a.example/{{ email }}">',
        "<a " + "x=y " * 50 + "href='https://a.example/'>",
    ],
)
def test_a_long_hostile_body_is_tracked_in_one_pass(html: str) -> None:
    count = min(300_000 // len(html), 900 if "{{" in html else 300_000)
    compiled(html * count)


@pytest.mark.parametrize(
    "address", ["HTTPS://Portal.Example.org/api/marketing/unsubscribe/x", f"{PUBLIC}:443/api/marketing/click/x/1"]
)
def test_an_address_of_this_service_in_another_spelling_is_not_tracked_either(address: str) -> None:
    assert compiled(f'<a href="{address}">x</a>').links == ()
