"""HTML is tokenized as a browser does it, and a footer is inserted where it is always shown."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.rendering.markup import FOOTER_PLACE, Kind, Masked, attribute, footer_place, tokens

SCRAPS = [
    "<",
    ">",
    "/",
    "!",
    "--",
    "<!--",
    "-->",
    "<p>",
    "</p>",
    '<a href="',
    "'",
    "=",
    "<style>",
    "</style ",
    "</body>",
    "x y",
    "</",
    "<?",
]


def with_footer_place(source: str) -> str:
    masked = Masked(source)
    return masked.edited([footer_place(masked)])


scraps = st.lists(st.sampled_from(SCRAPS), max_size=25).map("".join)


@settings(deadline=None)
@given(scraps)
def test_every_character_belongs_to_one_token(html: str) -> None:
    position = 0
    for token in tokens(html):
        assert token.start == position < token.end
        position = token.end
    assert position == len(html)


@pytest.mark.parametrize(
    ("html", "seen"),
    [
        ("a<b>c</b>", [(Kind.TEXT, ""), (Kind.OPEN, "b"), (Kind.TEXT, ""), (Kind.CLOSE, "b")]),
        ('<A HREF="a>b" c=\'>\'>', [(Kind.OPEN, "a")]),
        ("<p title=it's>'", [(Kind.OPEN, "p"), (Kind.TEXT, "")]),
        ("<!-- <p> --!><!--><!doctype html><?php ?></ ></é>", [(Kind.HIDDEN, "")] * 6),
        ("<style>a<b</STYLE>", [(Kind.OPEN, "style"), (Kind.HIDDEN, "style"), (Kind.CLOSE, "style")]),
        ("<script></script>", [(Kind.OPEN, "script"), (Kind.CLOSE, "script")]),
        ("1 < 2 <3 <é<", [(Kind.TEXT, "")]),
        ("<title>never", [(Kind.UNCLOSED, "title")]),
        ("<!-- never", [(Kind.UNCLOSED, "")]),
        ('x<a href="never>', [(Kind.TEXT, ""), (Kind.UNCLOSED, "")]),
        ("</", [(Kind.UNCLOSED, "")]),
    ],
)  # fmt: skip
def test_the_tokens_of_html(html: str, seen: list[tuple[Kind, str]]) -> None:
    assert [(token.kind, token.name) for token in tokens(html)] == seen


@pytest.mark.parametrize(
    "html", ["<a ", '<a b="', "<!--", "<style>", "</style", "<", "<p>", "</body>", "<b><i></i>", "<!"]
)
def test_a_long_hostile_body_is_read_in_one_pass(html: str) -> None:
    assert FOOTER_PLACE in with_footer_place(html * (200_000 // len(html)))


@pytest.mark.parametrize(
    ("attributes", "name", "value"),
    [
        (' href="a b" x', "href", "a b"),
        (" HREF = 'a' ", "href", "a"),
        (" a=b href=c", "href", "c"),
        (' title="href=x"', "href", ""),
        (' alt="" src=x', "alt", ""),
    ],
)
def test_an_attribute_is_found(attributes: str, name: str, value: str) -> None:
    assert attribute(attributes, name) == value


@pytest.mark.parametrize(
    "html",
    [
        "<p>Hi</p>[]",
        "<html><body><p>Hi</p>[]</body></html>",
        "<BODY>a[]</BODY >",
        "a[]</html>",
        "<body>a</body><body>b[]</body>",
        "<body>a[]</body> and more",
        "</html><p>[]</body>",
        "<!-- </body> -->[]",
        "<body><script>'</body>'</script>[]</body><!-- </body> -->",
        "<a title='</body>'>x[</a>]</body>",
        "<div style='display:none'>Hi[</div>]",
        "<table><tr><td>Hi[</table>]",
        "<ul><li>a<li>b</ul>[]",
        "<div><p>a<br>b<img src=x></div>[]",
        "<div><b>x</div>[]",
        "</div>x[]",
        "a[]<!-- never closed",
        "a[]<style>never closed",
        'a[]<a href="never closed',
        "a < b <[]",
        "a[]</",
        # Liquid can hide a block, so the footer is outside of all blocks.
        "{% if email %}a</body>{% else %}b</body>{% endif %}c[]",
        "{% if email %}a</body>{% endif %}c[]</body>",
        "[]{% if email %}<!-- never closed{% endif %}",
        "{% for i in (1..2) %}{% if email %}</body>{% endif %}</body>{% endfor %}[]",
        "{% comment %}</body>{% endcomment %}a[]",
        "{% comment %}{% if %}{% comment %}{% endcomment %}{% endcomment %}a[]</body>",
        "<a href='{{ '>' }}' {% if 1 > 2 %}x{% endif %}>b</a>[]</body>",
        "{% case email %}{% when 'a' %}</html>{% endcase %}[]</html>",
        # A Liquid tag is not part of a name.
        "<div{% if email %} class='x'{% endif %}>Hi</div>[]",
        "<div{% if email %} class='x'{% endif %}>Hi[</div>]",
    ],
)
def test_the_footer_is_inserted_at_the_last_visible_place(html: str) -> None:
    """The `]` is its place; the brackets contain the end tags that are added for it."""
    before, _, rest = html.partition("[")
    end_tags, _, after = rest.partition("]")
    assert with_footer_place(before + after) == before + end_tags + FOOTER_PLACE + after


@settings(deadline=None)
@given(st.lists(st.sampled_from([*SCRAPS, "{{ email }}", "{% if email %}", "{% endif %}"]), max_size=25).map("".join))
def test_only_the_marker_and_end_tags_are_added(html: str) -> None:
    before, place, after = with_footer_place(html).partition(FOOTER_PLACE)
    assert place
    assert html.endswith(after)
    assert before.startswith(html.removesuffix(after))


def test_the_characters_that_mask_liquid_cannot_be_forged() -> None:
    masked = Masked("{{ email }}\U000f0000\U000f8000\U000ffffd{% if email %}{% endif %}")
    assert masked.restored(masked.text) == "{{ email }}\ufffd\ufffd\ufffd{% if email %}{% endif %}"
