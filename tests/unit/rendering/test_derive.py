"""The derived body has the same content as the body that the author wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from marketing_service.rendering import SAMPLE, MergeFields, TemplateError, validate_template
from marketing_service.rendering.derive import html_from_text, text_from_html
from marketing_service.rendering.language import Escaping
from marketing_service.rendering.template import Template, derived_text_pieces, fill


def text_of(html: str, fields: MergeFields = SAMPLE) -> str:
    validate_template(html, html=True)
    source, has_tags = text_from_html(html)
    template = Template(source, Escaping.NONE)
    context = template.slot_context(fields.cleaned())
    return "".join(fill(derived_text_pieces(template, has_tags=has_tags), context))


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("a\n  b<br>c<br/><br>d", "a b\nc\n\nd"),
        ("<div>a</div><div>b</div>c", "a\nb\nc"),
        ("<h1>Sale</h1>now <b>on</b>ly<hr>bye", "Sale\n\nnow only\n\nbye"),
        ("Fish &amp; Chips &lt;3 &eacute;&#128512;&nbsp;x", "Fish & Chips <3 é😀 x"),
        ("<ul><li>a</li><li>b<ol><li>c<li>d</ol></li></ul>e", "- a\n- b\n  1. c\n  2. d\n\ne"),
        ("<li>stray", "- stray"),
        ("<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<pre>a\n  b</pre>c", "a\n  b\n\nc"),
        ('<a href="https://x.example/?a=1&amp;b=2">our shop</a>.', "our shop (https://x.example/?a=1&b=2)."),
        ("<a href=https://x.example/>https://x.example</a>", "https://x.example"),
        ("<a href='https://x.example'>x.example</a>", "x.example"),
        ('<a href="mailto:a@example.com">a@example.com</a>', "a@example.com"),
        ('<a href="https://x.example"><div>a</div></a>b', "a (https://x.example)\nb"),
        ('<a href="tel:+4912">Call</a>', "Call (+4912)"),
        ('<a href="#top">up</a> <a name=x>here</a>', "up here"),
        ('<a href="https://x.example"><img src=y></a> z', "https://x.example z"),
        ('<a href="https://x.example"><img src=y alt="Our shop"></a>', "Our shop (https://x.example)"),
        ('<a href="https://x.example">one <a href="https://y.example">two', "one (https://x.example) two (https://y.example)"),
        ("<head><title>no</title><style>no</style></head><body>yes</body>", "yes"),
        ("<head><meta charset=utf-8><p>yes</p>", "yes"),
        ("a<script>no</script><!-- no --><template>no<b>no</b></template>b", "ab"),
        ("a" + "&nbsp;&zwnj;" * 40 + "b", "a b"),
        ("<p></p><div><div>a</div></div><p> </p>b</p></li></ul>", "a\n\nb"),
        ("a<!-- never closed", "a"),
        ("", ""),
    ],
)  # fmt: skip
def test_html_becomes_readable_text(html: str, text: str) -> None:
    assert text_of(html) == text


@pytest.mark.parametrize(
    ("html", "for_sample", "for_nobody"),
    [
        ('<p>Hi {{ firstName | default: "you & <me>" }}!</p>', "Hi Alex!", "Hi you & <me>!"),
        ('<a href="https://x.example/{{ lastName }}">x</a>', "x (https://x.example/Sample)", "x (https://x.example/)"),
        ("<p>a</p>{% if firstName %}<p>b</p>{% else %}<p>c</p>{% endif %}<p>d</p>", "a\n\nb\n\nd", "a\n\nc\n\nd"),
        ("<p>a {% if firstName %}b{% endif %} c</p>", "a b c", "a c"),
        ("<p {% if email %}class=x{% endif %}>a</p>", "a", "a"),
        ("<a href='{% if email %}http://x{% else %}http://y{% endif %}'>a</a>", "a (http://x)", "a (http://y)"),
        ("<a href='#{% if email %}x{% endif %}'>a</a>", "a", "a"),
        ("<a href='{% if email %}https://x.example'>a</a>{% else %}'>b</a>{% endif %}", "a", "'>b"),
        ("{% if email %}<a href='x{% else %}y'>z</a>{% endif %}", "", "z"),
        ("<img alt='{% if email %}x{% endif %}'>", "x", ""),
        ("<img alt='{% if email %}x'>y{% else %}'>{% endif %}", "y", "'>"),
        ("<head>{% assign x = firstName %}</head><style>{% if email %}b{% endif %}</style>{{ x }}", "Alex", ""),
        ("{% capture x %}<i>{{ lastName }}</i>{% endcapture %}<p>{{ x }}</p>", "Sample", ""),
        ("{% comment %}<p>no</p>{% endcomment %}yes", "yes", "yes"),
        ("<ul>{% for i in (1..2) %}<li>{{ i }}</li>{% endfor %}</ul>", "- 1\n\n- 2", "- 1\n\n- 2"),
        ("{{ firstName | escape }}", "Alex", ""),
        # A brace that the author wrote as text never becomes a placeholder.
        ("&#123;&#123; phone }} {<b>{ x }}</b>", "{ { phone }} { { x }}", "{ { phone }} { { x }}"),
        ("{<i>{{ firstName }}</i>.", "{ Alex.", "{ ."),
    ],
)  # fmt: skip
def test_placeholders_and_tags_stay_in_the_text(html: str, for_sample: str, for_nobody: str) -> None:
    assert text_of(html) == for_sample
    assert text_of(html, MergeFields(None)) == for_nobody


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://x.example/?c={{ companyName }}&d=é">x</a>', "x (https://x.example/?c=Sample%20&%20Sons&d=é)"),
        ('<a href="https://x.example/{{ firstName | append: \' "b" \' }}">x</a>', "x (https://x.example/Alex%20%22b%22%20)"),
        (
            '<a href="{% if email %}https://x.example/{{ companyName }}{% endif %}">a  b</a> c d',
            "a b (https://x.example/Sample%20&%20Sons) c d",
        ),
        ('<a href="mailto:{{ email }}">{{ email }}</a>', "alex.sample@example.com"),
        ('<a href="https://x.example/{{ lastName }}">https://x.example/{{ lastName }}</a>', "https://x.example/Sample"),
    ],
)  # fmt: skip
def test_a_value_in_an_address_does_not_end_it(html: str, text: str) -> None:
    assert text_of(html) == text


def html_of(text: str, fields: MergeFields = SAMPLE) -> str:
    validate_template(text, html=False)
    page = Template(html_from_text(text), Escaping.OUTPUT).fill(fields.cleaned())
    before, _, body = page.partition('line-height: 1.5">\n')
    assert before.startswith("<!DOCTYPE html>")
    return body.removesuffix("\n</body>\n</html>\n")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a\nb\n\n \n\nc\n", "<p>a<br>\nb</p>\n<p>c</p>"),
        ('1 < 2 & "3"', "<p>1 &lt; 2 &amp; &#34;3&#34;</p>"),
        ("See https://x/?a=1&b=2.", '<p>See <a href="https://x/?a=1&amp;b=2">https://x/?a=1&amp;b=2</a>.</p>'),
        ("(http://y.example)", '<p>(<a href="http://y.example">http://y.example</a>)</p>'),
        ("https://x/{{ lastName }}!", '<p><a href="https://x/Sample">https://x/Sample</a>!</p>'),
        ("https://x.example/{% if email %}a{% endif %}", '<p><a href="https://x.example/">https://x.example/</a>a</p>'),
        ("{{ companyName }}", "<p>Sample &amp; Sons</p>"),
        ("a\n\n{% if email %}b\n\nc{% endif %}\n\nd", "<p>a</p>\n<p>b<br>\n<br>\nc</p>\n<p>d</p>"),
        ('x" onclick=y', "<p>x&#34; onclick=y</p>"),
    ],
)  # fmt: skip
def test_text_becomes_html(text: str, html: str) -> None:
    assert html_of(text) == html


def test_a_default_in_a_text_is_not_markup() -> None:
    assert html_of("{{ firstName | default: '<you>' }}", MergeFields(None)) == "<p>&lt;you&gt;</p>"


PARTS = [
    "<p>",
    "</p>",
    "<a href='",
    "'>",
    "</a>",
    "<li>",
    "<!--",
    "-->",
    "{{ email }}",
    "{% if email %}",
    "{% else %}",
    "{% endif %}",
]
PARTS += [
    "{% assign x = 1 %}",
    "{",
    "{<b>",
    "&#123;",
    "&#37;",
    "% }",
    "<head>",
    "<style>",
    "</style>",
    "text ",
    "\n\n",
    "https://x/",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=20).map("".join))
def test_every_valid_template_can_be_derived_from(source: str) -> None:
    try:
        validate_template(source, html=True)
    except TemplateError:
        reject()
    text_of(source)
    Template(html_from_text(source), Escaping.OUTPUT).fill(SAMPLE.cleaned())
