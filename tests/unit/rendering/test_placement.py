"""The unsubscribe link that an author places in a body: every recipient can opt out in each body, by one link."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from marketing_service.rendering import (
    BODY_PLACEHOLDERS,
    SAMPLE,
    MergeFields,
    MessageSource,
    RecipientData,
    RenderCheck,
    TemplateError,
    compile_message,
    validate_template,
)
from marketing_service.rendering.masking import MARK

if TYPE_CHECKING:
    from marketing_service.rendering import CompiledMessage

PUBLIC = "https://portal.example.org"
OWN = f"{PUBLIC}/api/marketing/unsubscribe/un-sub_1"
SOURCE = MessageSource(UUID(int=7), "org", None, "news@shop.example", None, "Hello", "<p>x</p>", "text")
KIM = MergeFields("kim@example.com", "Kim")
NOBODY = MergeFields("nobody@example.com")


def compiled(**source: Any) -> CompiledMessage:
    return compile_message(replace(SOURCE, **source), public_base_url=PUBLIC, one_click=True)


def recipient(fields: MergeFields = KIM) -> RecipientData:
    return RecipientData(UUID(int=9), fields, datetime(2026, 5, 4, tzinfo=UTC), "un-sub_1", "open_1", "click_1")


def bodies(fields: MergeFields = KIM, **source: Any) -> list[str]:
    """The text and the HTML that a mail program reads, whether the message is 7-bit or 8-bit."""
    message = compiled(**source)
    decoded = message.bodies(recipient(fields))
    for eight_bit in (False, True):
        parsed = message_from_bytes(message.render(recipient(fields), eight_bit=eight_bit), policy=policy.default)
        assert [part.get_content().replace("\r\n", "\n") for part in parsed.iter_parts()] == decoded
    return decoded


def html_of(html_body: str, fields: MergeFields = KIM) -> str:
    return bodies(fields, html_body=html_body)[1]


def has_footer(body: str) -> bool:
    return "Unsubscribe" in body


@pytest.mark.parametrize("placeholder", ["{{unsubscribeUrl}}", "{{ unsubscribeUrl }}", "{{-  unsubscribeUrl\t-}}",
                                         "{{unsubscribeUrl|escape}}", "{{ unsubscribeUrl | escape }}"])  # fmt: skip
@pytest.mark.parametrize(
    "html",
    [
        '<p><a href="@">leave</a></p>',
        "<p><a class=x href='@'>leave</a></p>",
        "<p><a href=@>leave</a></p>",
        '<map><area href=" @ " alt="leave"></map>',
        "<p>Leave: @</p>",
        "<html><head><title>x</title></head><body><table><tr><td>@</td></tr></table></body></html>",
        '<head><title>x</title><p>the head ended before <a href="@">this</a></p>',
        '{% if firstName %}x{% endif %}<a href="@">leave</a>',
    ],
)
def test_where_the_author_placed_the_link_nothing_is_appended(html: str, placeholder: str) -> None:
    html_body = html.replace("@", placeholder)
    for fields in (KIM, NOBODY):
        text, shown = bodies(fields, html_body=html_body)
        assert shown.count(OWN) == 1
        assert not has_footer(shown)
        assert "/pixel/" in shown
        assert has_footer(text)


def test_each_body_is_decided_alone() -> None:
    text, html = bodies(html_body="<p>x</p>", text_body="Leave: {{ unsubscribeUrl }}")
    assert text == f"Leave: {OWN}\n"
    assert has_footer(html)


def test_a_derived_body_has_the_link_of_the_other_one_and_no_second() -> None:
    text, html = bodies(html_body='<p>Hi</p><p><a href="{{ unsubscribeUrl }}">leave</a></p>', text_body=None)
    assert text == f"Hi\n\nleave ({OWN})\n"
    assert not has_footer(html)
    text, html = bodies(html_body=None, text_body="Hi\nLeave here: {{ unsubscribeUrl }}.")
    assert text == f"Hi\nLeave here: {OWN}.\n"
    assert f'Leave here: <a href="{OWN}">{OWN}</a>.' in html
    assert html.count(OWN) == 2


@pytest.mark.parametrize(
    "html",
    [
        '<!-- <a href="{{ unsubscribeUrl }}">leave</a> -->',
        '<!--[if mso]><a href="{{ unsubscribeUrl }}">leave</a><![endif]-->',
        "{% comment %}{{ unsubscribeUrl }}{% endcomment %}",
        "<head><title>{{ unsubscribeUrl }}</title></head>",
        "<style>a::after { content: '{{ unsubscribeUrl }}' }</style>",
        "<template><a href='{{ unsubscribeUrl }}'>leave</a></template>",
        '<img src="{{ unsubscribeUrl }}" alt="">',
        '<p title="{{ unsubscribeUrl }}">x</p>',
        '<a title="{{ unsubscribeUrl }}">x</a>',
        '<a href="https://shop.example/?to={{ unsubscribeUrl }}">x</a>',
        '<a href="http://{{ unsubscribeUrl }}">x</a>',
        '<a href="{{ email }}{{ unsubscribeUrl }}">x</a>',
        '<a href="{% if firstName %}https://x.example{% endif %}{{ unsubscribeUrl }}">x</a>',
        '<a href="x{% if firstName %}{{ unsubscribeUrl }}{% endif %}">x</a>',
        '<a {% if firstName %}href="#"{% endif %} href="{{ unsubscribeUrl }}">x</a>',
        '<a href="#" href="{{ unsubscribeUrl }}">x</a>',
        '<a href="{{ unsubscribeUrl | upcase }}">x</a>',
        '<a href="{{ unsubscribeUrl | truncate: 30 }}">x</a>',
        "{% assign address = unsubscribeUrl %}{{ address | slice: 0, 9 }}",
        "{% capture never %}{{ unsubscribeUrl }}{% endcapture %}",
        "{% capture part %}{{ unsubscribeUrl }}{% endcapture %}{{ part | truncate: 20 }}",
        "{% capture part %}{{ unsubscribeUrl }}{% endcapture %}{{ part | upcase }}",
        "{% if unsubscribeUrl %}x{% endif %}",
        '<p>x</p><a href="{{ unsubscribeUrl }}',
    ],
)
def test_a_placeholder_that_gives_the_reader_no_working_link_does_not_count(html: str) -> None:
    for fields in (KIM, NOBODY):
        shown = html_of(html, fields)
        assert shown.count(f'<a href="{OWN}" style=') == 1
        assert has_footer(shown)
        assert MARK not in shown


@pytest.mark.parametrize(
    "branch",
    [
        "{% if firstName %}@{% endif %}",
        "{% if firstName == 'Kim' %}{% if email %}@{% endif %}{% else %}none{% endif %}",
        "{% unless firstName %}none{% else %}@{% endunless %}",
        "{% case firstName %}{% when 'Kim' %}@{% else %}none{% endcase %}",
        "{% for n in (1..2) %}{% if firstName and n == 2 %}@{% endif %}{% endfor %}",
        "{% capture end %}<b>@</b>{% endcapture %}{% if firstName %}{{ end }}{% endif %}",
        "{% if firstName %}@{% else %}<!-- @ -->{% endif %}",
    ],
)
@pytest.mark.parametrize("link", ['<a href="{{ unsubscribeUrl }}">leave</a>', "{{- unsubscribeUrl -}}"])
def test_a_recipient_whose_branch_is_not_rendered_gets_the_appended_link(branch: str, link: str) -> None:
    html_body = f"<html><body><p>Hi</p>{branch.replace('@', link)}</body></html>"
    of_kim, of_nobody = html_of(html_body), html_of(html_body, NOBODY)
    assert (of_kim.count(OWN), has_footer(of_kim)) == (1, False)
    assert f'<a href="{OWN}" style=' in of_nobody
    assert has_footer(of_nobody)
    assert MARK not in of_kim + of_nobody


def test_a_branch_after_the_footer_counts_too() -> None:
    """The footer is inserted before `</body>`, so it is filled after everything else."""
    html_body = "<body><p>Hi</p></body>{% if firstName %}<p>{{ unsubscribeUrl }}</p>{% endif %}"
    assert not has_footer(html_of(html_body))
    assert has_footer(html_of(html_body, NOBODY))


def test_a_link_in_every_branch_is_never_doubled() -> None:
    html_body = "<p>{% if firstName %}A {{ unsubscribeUrl }}{% else %}B {{ unsubscribeUrl }}{% endif %}</p>"
    for fields in (KIM, NOBODY):
        assert html_of(html_body, fields).count(OWN) == 1


def test_an_address_can_depend_on_the_contact() -> None:
    html_body = '<a href="{% if firstName %} {{ unsubscribeUrl }}{% else %}https://x.example{% endif %}">x</a>'
    assert not has_footer(html_of(html_body))
    assert has_footer(html_of(html_body, NOBODY))
    html_body = '<a {% if firstName %}href="{{ unsubscribeUrl }}"{% endif %} href="https://x.example">x</a>'
    assert not has_footer(html_of(html_body))
    assert has_footer(html_of(html_body, NOBODY))


@pytest.mark.parametrize("text_body", ["{% if firstName %}Leave: {{ unsubscribeUrl }}{% endif %}", None])
def test_a_text_with_a_branch_is_decided_for_each_recipient(text_body: str | None) -> None:
    html_body = "<p>Hi</p>{% if firstName %}<p>Leave: {{ unsubscribeUrl }}</p>{% endif %}"
    source: dict[str, Any] = {"text_body": text_body, "html_body": html_body}
    text, _ = bodies(**source)
    assert text.endswith(f"Leave: {OWN}\n")
    assert not has_footer(text)
    text, _ = bodies(NOBODY, **source)
    assert text.endswith(f"\n\n-- \nUnsubscribe: {OWN}\n")
    assert "Leave" not in text


def test_a_contact_cannot_pretend_to_have_the_link() -> None:
    html_body = "<p>{% if firstName %}{{ lastName }}{% else %}{{ unsubscribeUrl }}{% endif %}</p>"
    fields = MergeFields("kim@example.com", "Kim", f"{OWN}{MARK}")
    assert has_footer(html_of(html_body, fields))
    assert has_footer(html_of(f"<p>{OWN}{MARK}{{% if lastName %}}{{{{ unsubscribeUrl }}}}{{% endif %}}</p>"))


def test_the_link_is_never_tracked() -> None:
    message = compiled(
        html_body='<a href="{{ unsubscribeUrl }}">leave</a> <a href="https://x.example/?u={{ unsubscribeUrl }}">y</a>'
        ' <a href="https://x.example">z</a>',
        track_clicks=True,
    )
    assert message.links == ("https://x.example",)
    html = message.bodies(recipient())[1]
    assert f'<a href="{OWN}">leave</a> <a href="https://x.example/?u={OWN}">y</a>' in html


def test_it_is_the_address_of_the_header_and_of_this_recipient() -> None:
    message = compiled(html_body='<a href="{{ unsubscribeUrl }}">leave</a>')
    other = recipient()._replace(unsubscribe_token="other")
    assert f"List-Unsubscribe: <{OWN}>\r\n".encode() in message.render(recipient())
    assert f'<a href="{PUBLIC}/api/marketing/unsubscribe/other">' in message.bodies(other)[1]


def test_a_preview_shows_a_link_that_does_nothing() -> None:
    source = {"html_body": '<a href="{{ unsubscribeUrl }}">leave</a>', "text_body": "{{ unsubscribeUrl }}"}
    preview = compiled(**source).preview(SAMPLE)
    assert '<a href="#">leave</a>' in preview.html
    assert preview.text == "#\n"
    branch = compiled(html_body="{% if lastName %}<p>at {{ unsubscribeUrl }}</p>{% endif %}")
    assert "<p>at #</p>" in branch.preview(SAMPLE).html
    assert not has_footer(branch.preview(SAMPLE).html)
    assert '<a href="#"' in branch.preview(NOBODY).html


def test_only_bodies_can_use_it() -> None:
    with pytest.raises(TemplateError, match="only in the HTML and the text of a message"):
        compiled(subject="Leave: {{ unsubscribeUrl }}")
    with pytest.raises(TemplateError, match=r"line 1, column 4"):
        validate_template("{{ unsubscribeUrl }}", html=False)
    with pytest.raises(TemplateError, match="did you mean unsubscribeUrl"):
        validate_template("{{ unsubscribe_url }}", html=True, names=BODY_PLACEHOLDERS)
    for name in ("unsubscribeUrl", "unsubscribeUrl | upcase", "unsubscribeUrl.size"):
        validate_template(f"{{{{ {name} }}}}", html=True, names=BODY_PLACEHOLDERS)


@pytest.mark.parametrize(
    "source",
    [
        "x\n{% assign unsubscribeUrl = '#' %}{{ unsubscribeUrl }}",
        "x\n{% capture unsubscribeUrl %}#{% endcapture %}{{ unsubscribeUrl }}",
        "x\n{% for unsubscribeUrl in (1..2) %}{{ unsubscribeUrl }}{% endfor %}",
        "x\n{% if email %}{% assign unsubscribeUrl = email %}{% endif %}",
        "x\n{% assign _unsubscribe = '#' %}",
    ],
)
def test_no_template_can_give_it_another_value(source: str) -> None:
    with pytest.raises(TemplateError, match=r"cannot be given another value \(line 2, "):
        validate_template(source, html=True, names=BODY_PLACEHOLDERS)


def test_the_name_with_the_mark_is_no_placeholder() -> None:
    with pytest.raises(TemplateError, match="is not a placeholder"):
        validate_template("{{ _unsubscribe }}", html=True, names=BODY_PLACEHOLDERS)


def test_it_counts_in_the_budget() -> None:
    """Many placeholders would make a message of megabytes."""
    public = f"https://mail.example.com/{'a' * 450}"
    source = replace(SOURCE, html_body="{{ unsubscribeUrl }}" * 900)
    with pytest.raises(Exception, match="too costly"):
        compile_message(source, public_base_url=public, one_click=True)


def test_the_check_fills_it_in_and_counts_no_contact_without_it() -> None:
    render_check = RenderCheck("x", "{{ unsubscribeUrl }}", "{% if lastName %}x{% endif %}{{ unsubscribeUrl }}")
    assert list(render_check.problems(NOBODY)) == []
    assert render_check.placeholders == {"lastName": False}


@pytest.mark.parametrize(
    "html",
    [
        '<p><a href="{{ unsubscribeUrl }}">leave</a></p>',
        '<p>{% if firstName %}<a href="{{ unsubscribeUrl }}">leave</a>{% endif %}</p>',
        '<a href="https://a.example/?{{ email }}">{{ firstName }}</a> or <a href="{{unsubscribeUrl}}#x">leave</a>',
    ],
)
def test_the_text_derived_from_html_has_the_placed_link_once(html: str) -> None:
    """Addresses in a derived text are percent-encoded. The mark of a placed link is not a part of its address."""
    text = bodies(html_body=html, text_body=None)[0]
    assert text.count(OWN) == 1
    assert not has_footer(text)
    assert MARK not in text
    assert "%F3" not in text
