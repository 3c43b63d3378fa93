"""A template has a budget for each message, counted in nodes and octets."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from marketing_service.rendering import (
    SAMPLE,
    MergeFields,
    MessageSource,
    RecipientData,
    TemplateTooCostly,
    compile_message,
    validate_template,
)
from marketing_service.rendering.budget import MAX_NODES, MAX_OCTETS
from marketing_service.rendering.language import MAX_TAG_TEXT, MAX_TAGS, Escaping, TemplateError
from marketing_service.rendering.template import LONG, Template

LOOP, END = "{% for i in (1..100) %}", "{% endfor %}"
SHORT_LOOP = "{% for i in (1..30) %}"
LONG_TEXT = "{% capture x %}" + "a" * 9_000 + "{% endcapture %}"
A, LITERAL = "{% capture x %}" + "a" * 2_400 + "{% endcapture %}", "a" * 400
SEARCHED = A + "{% capture y %}" + "a" * 900 + "b{% endcapture %}{% for i in (1..10) %}"

TOO_MANY_NODES = {
    "loops one after the other": (LOOP + "{{ firstName }}" + END) * 30,
    "empty loops": (LOOP + END) * 40,
    "loops three deep": "{% for i in (1..5) %}{% for j in (1..5) %}{% for k in (1..4) %}x" + END * 3
    + ("{% for i in (1..5) %}{% for j in (1..5) %}{% for k in (1..4) %}x" + END * 3) * 10,
    "a loop around one with one round": (LOOP + "{% for j in (1..1) %}" + END * 2) * 5,
    "a case with many branches": LOOP + "{% case firstName %}" + "{% when 'a' %}" * 30 + "{% endcase %}" + END,
    "a case with many values": LOOP + "{% case firstName %}{% when " + ",".join("'a'" * 1 for _ in range(60))
    + " %}{% endcase %}" + END,
    "many elsif": LOOP + "{% if firstName %}" + "{% elsif lastName == 'a' %}" * 30 + "{% endif %}" + END,
    "a long condition": LOOP + "{% unless " + " and ".join(["firstName"] * 30) + " %}x{% endunless %}" + END,
    "many filters": LOOP + "{{ 1" + " | upcase" * 40 + " }}" + END,
    "assignments": (LOOP + "{% assign x = 1 %}" + END) * 20,
    "captures": (LOOP + "{% capture x %}{% endcapture %}" + END) * 20,
    "a block without output": LOOP + "{% if true %} " + "{% assign x = 1 %}" * 30 + "{% endif %}" + END,
}  # fmt: skip

TOO_MANY_OCTETS = {
    "a loop around a long text": LOOP + "x" * 2_100 + END,
    "characters of several octets": LOOP + "é" * 1_100 + END,
    "a doubled variable": "{% assign x = 'aaaaaaaaaaaaaaaa' %}" + "{% assign x = x | append: x %}" * 20,
    "a doubled capture": "{% capture x %}abcdefgh{% endcapture %}"
    + "{% capture x %}{{ x }}{{ x }}{% endcapture %}" * 20,
    "reading a long text": LONG_TEXT + SHORT_LOOP + "{% if x == 'a' %}{% endif %}" + END,
    "slices of a long text": LONG_TEXT + SHORT_LOOP + "{{ x | slice: 0, 1 }}" + END,
    "truncate with a huge number": LOOP + f"{{{{ '{LITERAL}' | truncate: 999999999999 }}}}" + END
    + LOOP + f"{{{{ '{LITERAL}' | truncatewords: 999999999999 }}}}" + END,
    "slow filters": LOOP + "{{ '" + "a " * 200 + "' | squish | size }}" + END,
    "percent-encoding": LOOP + "{{ '" + "é" * 400 + "' | url_encode | size }}" + END,
    "searches": SEARCHED + "{% if x contains y %}{% endif %}" + END,
    "removals": SEARCHED + "{{ x | remove: y | size }}" + END,
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MANY_NODES)
def test_too_many_nodes_are_refused(name: str) -> None:
    with pytest.raises(TemplateTooCostly, match=f"more than {MAX_NODES:,} nodes"):
        validate_template(TOO_MANY_NODES[name], html=True)


@pytest.mark.parametrize("name", TOO_MANY_OCTETS)
def test_too_many_octets_are_refused(name: str) -> None:
    with pytest.raises(TemplateTooCostly, match=f"more than {MAX_OCTETS:,} octets"):
        validate_template(TOO_MANY_OCTETS[name], html=True)


@pytest.mark.parametrize(
    "source",
    [
        "<p>Dear {{ firstName | default: 'friend' }},</p>" + "<p>text</p>" * 80_000,
        "{{ firstName }} {{ email | url_encode }} " * 20,
        "{% if companyName %}" + "<p>One paragraph for companies.</p>\n" * 4_000 + "{% endif %}",
        "{% case lastName %}" + "".join(f"{{% when 'Name {n}' %}}Text {n}" for n in range(300)) + "{% endcase %}",
        "{% if firstName %}Dear {{ firstName }}{% else %}Hello{% endif %}" * 100,
        "{% for i in (1..100) %}<tr><td>{{ i }}</td></tr>{% endfor %}" * 3,
        "{% capture button %}" + "<table>" * 300 + "{% endcapture %}" + "{{ button }}" * 30,
    ],
    ids=["a megabyte", "many placeholders", "a long branch", "300 branches", "100 branches", "loops", "a button"],
)
def test_a_usual_template_is_far_from_the_limits(source: str) -> None:
    validate_template(source, html=True)
    template = Template(source, Escaping.VALUES)
    context = template.slot_context(SAMPLE.cleaned())
    for piece in template.pieces:
        if not isinstance(piece, str):
            piece.fill(context)
    nodes, octets = context.budget.used
    assert nodes < MAX_NODES * 0.75
    assert octets < MAX_OCTETS * 0.75


def test_the_count_is_exact_and_the_same_for_every_contact() -> None:
    """One loop counts 12 nodes and its range, each round its block, its placeholder and its variable."""
    template = Template("{% for i in (1..3) %}{{ firstName }}{% endfor %}", Escaping.NONE)
    for fields in (SAMPLE, LONG, MergeFields(None)):
        context = template.slot_context(fields.cleaned())
        template.pieces[0].fill(context)  # type: ignore[union-attr] # it is a slot
        assert context.budget.used[0] == _nodes_of_one_loop(3)


def _nodes_of_one_loop(rounds: int) -> int:
    loop = 1 + 10 + 1 + 1 + 2  # the tag, its weight, its expression, the range, its two numbers
    block = 1 + 1 + 1 + 1  # the block, the output, its expression, the variable
    return loop + rounds * block


def test_placeholders_without_tags_have_the_same_limit() -> None:
    placeholders = "{{ firstName }}" * 300
    with pytest.raises(TemplateTooCostly):
        validate_template(placeholders, html=False)
    template = Template(placeholders, Escaping.NONE)
    assert template.fill(SAMPLE.cleaned()) == "Alex" * 300
    with pytest.raises(TemplateTooCostly):
        template.fill(LONG.cleaned())


@pytest.mark.parametrize("body", ["html", "text"])
@pytest.mark.parametrize("eight_bit", [True, False])
def test_a_message_for_one_recipient_can_be_too_costly_and_the_next_one_not(body: str, eight_bit: bool) -> None:
    source = "{{ firstName }}" * 300
    message = compile_message(
        MessageSource(
            UUID(int=1), "acme", None, "news@acme.example", None, "News",
            f"<p>{source}</p>" if body == "html" else "x", source if body == "text" else "x",
        ),
        public_base_url="https://portal.example.com",
        one_click=True,
    )  # fmt: skip

    def render(fields: MergeFields) -> bytes:
        return message.render(
            RecipientData(UUID(int=2), fields, datetime(2026, 1, 1, tzinfo=UTC), "token", "token"), eight_bit=eight_bit
        )

    with pytest.raises(TemplateTooCostly):
        render(LONG)
    assert b"Alex" in render(SAMPLE)


def test_the_text_of_all_tags_is_bounded_so_that_parsing_is() -> None:
    tag = "{% if " + " or ".join(["email"] * 50) + " %}{% endif %}"
    with pytest.raises(TemplateError, match=f"more than {MAX_TAG_TEXT:,} characters"):
        validate_template(tag * (MAX_TAGS // 2), html=True)
