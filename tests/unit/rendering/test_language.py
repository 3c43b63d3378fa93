"""The template language, and the error messages for invalid templates."""

from __future__ import annotations

import pytest

from marketing_service.rendering import SAMPLE, MergeFields, NotRenderable, TemplateError, validate_template
from marketing_service.rendering.language import MAX_ITERATIONS, MAX_TAG, MAX_TAGS, Escaping
from marketing_service.rendering.template import PlaceholderSlot, Template, clean, collapse_whitespace

NOBODY = MergeFields(None)


def rendered(source: str, fields: MergeFields = SAMPLE, escaping: Escaping = Escaping.NONE) -> str:
    return Template(source, escaping).fill(fields.cleaned())


@pytest.mark.parametrize(
    ("source", "for_sample", "for_nobody"),
    [
        ("{{ firstName }} {{lastName}}, {{companyName}}", "Alex Sample, Sample & Sons", " , "),
        ("<{{ email }}>", "<alex.sample@example.com>", "<>"),
        ('Hi {{ firstName | default: "there" }}', "Hi Alex", "Hi there"),
        ("{{ firstName | default: lastName | upcase }}", "ALEX", ""),
        ("{{ lastName | downcase | capitalize | truncate: 4, '' }}", "Samp", ""),
        ("{{ firstName | append: '!' | prepend: '¡' }}", "¡Alex!", "¡!"),
        ("{{ companyName | remove: ' & Sons' | strip | squish }}", "Sample", ""),
        ("{{ companyName | truncatewords: 1 }}", "Sample...", ""),
        ("{{ companyName | url_encode }}", "Sample+%26+Sons", ""),
        ("{{ firstName | slice: 0 }}{{ firstName | slice: 0, 2 }}", "AAl", ""),
        ("{{ firstName | size }}/{{ firstName.size }}", "4/4", "0/0"),
        ("{% if firstName == 'Alex' %}a{% elsif lastName %}b{% else %}c{% endif %}", "a", "c"),
        ("{% unless companyName contains 'Sons' %}a{% endunless %}b", "b", "ab"),
        ("{% case firstName %}{% when 'Alex', 'Kim' %}a{% else %}b{% endcase %}", "a", "b"),
        ("{% for i in (1..3) %}{{ i }}{{ forloop.last }} {% endfor %}", "1false 2false 3true ", "1false 2false 3true "),
        ("{% assign x = firstName | default: 'you' %}{{ x }}", "Alex", "you"),
        ("{% capture x %}<{{ lastName }}>{% endcapture %}{{ x }}", "<Sample>", "<>"),
        ("a{% comment %}{{ nonsense }}{% endcomment %}{% # and this %}b", "ab", "ab"),
        ("{% assign email = 'me' %}{{ email }}", "me", "me"),
        ("a  {{- firstName -}}  b", "aAlexb", "ab"),
        ("no } braces { at all %}", "no } braces { at all %}", "no } braces { at all %}"),
    ],
)  # fmt: skip
def test_the_language(source: str, for_sample: str, for_nobody: str) -> None:
    validate_template(source, html=False)
    validate_template(source, html=True)
    assert rendered(source) == for_sample
    assert rendered(source, NOBODY) == for_nobody


@pytest.mark.parametrize("condition", ["firstName", "firstName and email", "firstName != ''", "firstName != blank"])
def test_a_missing_value_is_nil_in_every_condition(condition: str) -> None:
    source = f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}"
    assert rendered(source) == "yes"
    assert rendered(source, NOBODY) == "no"


def test_values_are_escaped_only_in_html() -> None:
    fields = MergeFields(None, "<b>'&\"")
    assert rendered("{{ firstName }}", fields, Escaping.VALUES) == "&lt;b&gt;&#39;&amp;&#34;"
    assert rendered("{{ firstName | upcase }}", fields, Escaping.VALUES) == "&lt;B&gt;&#39;&amp;&#34;"
    assert rendered("{{ firstName | escape }}", fields, Escaping.VALUES) == "&lt;b&gt;&#39;&amp;&#34;"
    assert rendered("{% if true %}{{ firstName }}{% endif %}", fields, Escaping.VALUES).startswith("&lt;b")
    assert rendered("{{ firstName }}{{ firstName | escape }}", fields) == "<b>'&\"" * 2


def test_a_literal_is_html_in_html_and_text_in_html_made_from_text() -> None:
    for source in (
        "{{ firstName | default: '<i>' }}",
        "{{ '<i>' }}",
        "{{ firstName | append: '<i>' }}",
        "{{ firstName | default: '<i>' | upcase | downcase }}",
    ):
        assert rendered(source, NOBODY, Escaping.VALUES) == "<i>"
        assert rendered(source, NOBODY, Escaping.OUTPUT) == "&lt;i&gt;"


@pytest.mark.parametrize(
    ("source", "sentence", "line", "column"),
    [
        ("Hi\n {{ firstname }}", "did you mean firstName?", 2, 5),
        ("{{ first_name }}", "did you mean firstName?", 1, 4),
        ("{{ phone }}", "the placeholders are firstName, lastName, companyName, email", 1, 4),
        ("{{ x }}{% assign x = 1 %}", '"x" is not a placeholder', 1, 4),
        ("{{ now }}", '"now" is not a placeholder', 1, 4),
        ("{% for i in (1..2) %}{% endfor %}{{ i }}", '"i" is not a placeholder', 1, 37),
        ("{{ email.domain }}", "email has no parts", 1, 4),
        ("{{ email[firstName] }}", "email has no parts", 1, 4),
        ("{{ [firstName] }}", "is not a placeholder", 1, 4),
        ("a {{ firstName", '"{{" is not closed', 1, 3),
        ("a {% if firstName", '"{%" is not closed', 1, 3),
        ("{{ }}", "cannot be read", 1, 6),
        ("{% %}", "cannot be read", 1, 1),
        ("{{ first name }}", "cannot be read", 1, 10),
        ("{{ firstName lastName }}", "cannot be read", 1, 14),
        ("a\n{% if firstName %}", "cannot be read", 2, 19),
        ("{% endif %}", 'The tag "endif" cannot be used here', 1, 4),
        ("{% include 'x' %}", 'The tag "include" cannot be used here', 1, 4),
        ("{% render 'x' %}", 'The tag "render" cannot be used here', 1, 4),
        ("{% tablerow i in (1..2) %}{% endtablerow %}", 'The tag "tablerow" cannot', 1, 4),
        ("{% increment x %}", 'The tag "increment" cannot', 1, 4),
        ("x{% raw %}{% endraw %}", 'The tag "raw" cannot', 1, 2),
        ("{%- doc %}{% enddoc %}", 'The tag "doc" cannot', 1, 1),
        ("{% break %}", 'The tag "break" cannot', 1, 4),
        ("{{ email | date: '%Y' }}", '"date" is not a filter; the filters are append', 1, 12),
        ("{{ email | replace: 'a', 'b' }}", '"replace" is not a filter', 1, 12),
        ("{% if false %}{{ email | upcase: 3 }}{% endif %}", 'The filter "upcase" takes no value after', 1, 26),
        ("{{ email | append }}", 'The filter "append" takes one value after', 1, 12),
        ("{{ email | truncate: 1, 'x', 3 }}", 'The filter "truncate" takes 0 to 2 values', 1, 12),
        ("{{ email | default: 'x', allow_false: true }}", 'The filter "default" takes one value after', 1, 12),
        ("{{ email | truncate: firstName }}", 'The filter "truncate" needs a whole number', 1, 12),
        ("{{ email | slice: 0, 'x' }}", 'The filter "slice" needs a whole number', 1, 12),
        (f"{{% for i in (1..{MAX_ITERATIONS + 1}) reversed %}}{{% endfor %}}", "A range needs two", 1, 13),
        ("{% for i in (1..firstName) %}{% endfor %}", "A range needs two whole numbers", 1, 13),
        ("{% assign r = (1..9999999999) %}", "A range needs two whole numbers", 1, 15),
        ("x{% if firstName > 3 %}{% endif %}", "cannot be filled in", 1, 18),
        ("{% for i in (1..99) %}{% for j in (1..99) %}{% endfor %}{% endfor %}", "loop iteration limit", 1, 4),
        ("{{ 'a' }}" * (MAX_TAGS + 1), f"more than {MAX_TAGS} placeholders", 1, MAX_TAGS * 9 + 1),
        ("{{ '" + "a" * MAX_TAG + "' }}", f"within {MAX_TAG} characters", 1, 1),
        ("{{ " + "email[" * 70 + "email" + "]" * 70 + " }}", "email has no parts", 1, 4),
        ("{% if email %}" * 40 + "{% endif %}" * 40, "block nesting limit", 1, 438),
    ],
)  # fmt: skip
def test_an_invalid_template_says_why_and_where(source: str, sentence: str, line: int, column: int) -> None:
    with pytest.raises(TemplateError) as caught:
        validate_template(source, html=False)
    error = caught.value
    assert sentence in error.message
    assert f"(line {line}, column {column})" in str(error)
    assert (error.line, error.column) == (line, column)
    assert source[: error.position].count("\n") == line - 1


def test_a_comparison_that_fails_for_one_contact_fails_only_for_that_contact() -> None:
    template = Template("{% if firstName == 'Kim' %}{% if email > 3 %}{% endif %}{% endif %}ok", Escaping.NONE)
    assert template.fill(SAMPLE.cleaned()) == "ok"
    with pytest.raises(NotRenderable, match="cannot be filled in for this contact"):
        template.fill(MergeFields("kim@example.com", "Kim").cleaned())


@pytest.mark.parametrize("unit", ["{{", "{%", "{% comment %}{{ ", "{% if email %}", "{{ email }}", "{", "{% raw %}"])
def test_a_long_hostile_template_is_checked_in_one_pass(unit: str) -> None:
    with pytest.raises(TemplateError):
        validate_template(unit * (200_000 // len(unit)) + "{{", html=True)


def test_only_plain_placeholders_use_the_fast_slot() -> None:
    plain = Template("{{ firstName }}{{ firstName | default: 'you' }}", Escaping.VALUES).pieces
    assert plain == (
        PlaceholderSlot("firstName", escaped=True),
        PlaceholderSlot("firstName", escaped=True, when_empty="you"),
    )
    for source in ("{{ firstName | upcase }}", "{{ 'x' }}", "{{ firstName | default: lastName }}", "{{ email.size }}"):
        assert not any(isinstance(piece, PlaceholderSlot) for piece in Template(source, Escaping.NONE).pieces)
    assigned = Template("{% assign email = 1 %}{{ email }}", Escaping.NONE)
    assert not any(isinstance(piece, PlaceholderSlot) for piece in assigned.pieces)


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (None, ""),
        ("", ""),
        ("  Zoë \t van\u00a0 Dam ", "Zoë van Dam"),
        ("a\r\nBcc: x", "a Bcc: x"),
        ("a\x00b\x85c\u2028d\x7f", "a b c d"),
        ("\ud800a", "a"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_a_value_is_one_clean_line(value: str | None, cleaned: str) -> None:
    assert clean(value) == cleaned


def test_collapse_whitespace_leaves_one_blank_line_and_one_space() -> None:
    assert collapse_whitespace("\n\na  b \n \n\n\n  c\n\td   e\n") == "a b\n\n  c\n\td e"
