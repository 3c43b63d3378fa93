"""The findings about a message before a launch."""

from __future__ import annotations

import pytest

from marketing_service.rendering import SAMPLE, Finding, MergeFields, RenderCheck, RenderProblem, Severity, lint

NOBODY = MergeFields(None)


def found(html_body: str | None = None, text_body: str | None = "Hello", html: str = "") -> dict[str, Finding]:
    return {finding.code: finding for finding in lint(html_body, text_body, html=html)}


def test_a_good_message_has_no_findings() -> None:
    html = '<p>Hello <a href="https://a.example">x</a> <a href="mailto:a@b.c">y</a> <img src="x" alt=""></p>'
    assert found(html, "See https://a.example", html) == {}


def test_links_without_https_are_counted_and_the_first_line_is_given() -> None:
    html = (
        "<p>\n{{ email }}\n<a\nhref='HTTP://a.example'>x</a>\n<a href=http://b.example>y</a><a href='{{email}}'>z</a>"
    )
    finding = found(html)["LINK_WITHOUT_HTTPS"]
    assert (finding.severity, finding.place, finding.line, finding.count) == (Severity.WARNING, "htmlBody", 3, 2)
    assert (
        found('<a href="&#104;ttp://a.example">x</a><a href=" ht\ntp://a.example">y</a>')["LINK_WITHOUT_HTTPS"].count
        == 2
    )
    assert found(None, "One\nhttp://a.example and https://b.example")["LINK_WITHOUT_HTTPS"].line == 2


@pytest.mark.parametrize(
    ("image", "missing"),
    [
        ("<img src=x>", True),
        ("<img src='x' title='no alt here'>", True),
        ('<img data-alt="x">', True),
        ("<img alt>", False),
        ("<img src='x'alt='y'>", False),
        ("<IMG ALT = 'y'/>", False),
        ("<!-- <img src=x> -->", False),
    ],
)
def test_an_image_needs_an_alt_text_or_an_empty_one(image: str, missing: bool) -> None:
    assert ("IMAGE_WITHOUT_ALT" in found(image)) is missing


def test_style_blocks_are_reported() -> None:
    assert found("<style>p { color: red }</style><p style='color: red'>x</p>")["STYLE_BLOCK"].count == 1


def test_the_limit_of_gmail_applies_to_the_rendered_html() -> None:
    assert "CLIPPED_BY_GMAIL" not in found("<p>x</p>", html="x" * 102_000)
    assert "CLIPPED_BY_GMAIL" in found("<p>x</p>", html="é" * 51_001)


def test_a_missing_text_is_a_note_and_a_missing_html_is_not_reported() -> None:
    assert found("<p>x</p>", "  ")["NO_PLAIN_TEXT"].severity is Severity.NOTE
    assert found(None, "x") == {}


class TestRenderCheck:
    def test_a_text_that_is_never_empty_is_no_problem(self) -> None:
        render_check = RenderCheck(
            "Hello {{firstName}}", "<p>Dear {{lastName}}</p>", "{% if firstName %}Hi{% endif %} all"
        )
        assert list(render_check.problems(NOBODY)) == []

    def test_a_text_that_is_empty_for_a_contact_is_reported(self) -> None:
        render_check = RenderCheck(
            "{{firstName}}", "<style>a{}</style><p>{{ lastName }}</p>", "{% if companyName %}Hi{% endif %}"
        )
        assert list(render_check.problems(SAMPLE)) == []
        assert list(render_check.problems(NOBODY)) == [
            ("subject", RenderProblem.EMPTY),
            ("htmlBody", RenderProblem.EMPTY),
            ("textBody", RenderProblem.EMPTY),
        ]

    def test_an_image_is_visible(self) -> None:
        assert list(RenderCheck("x", "<p><img src=x>{{firstName}}</p>", None).problems(NOBODY)) == []

    def test_a_template_that_fails_for_one_contact_is_reported(self) -> None:
        loops = "{% for a in (1..100) %}{% if firstName == 'Eve' %}{% for b in (1..100) %}{{ lastName }}{% endfor %}"
        render_check = RenderCheck("x", None, loops + "{% endif %}{% endfor %} all")
        assert list(render_check.problems(SAMPLE)) == []
        assert list(render_check.problems(MergeFields("e@x.example", "Eve"))) == [("textBody", RenderProblem.BROKEN)]

    def test_placeholders_without_a_default_are_known(self) -> None:
        render_check = RenderCheck(
            "{{ firstName | default: 'you' }}",
            "<p>{{firstName}}</p>",
            "{{ lastName | default: 'x' }}{% if email %}y{% endif %}",
        )
        assert render_check.placeholders == {"firstName": True, "lastName": False, "email": False}
