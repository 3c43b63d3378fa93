"""The size of messages, as a relay counts it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from marketing_service.rendering import (
    SAMPLE,
    CompiledMessage,
    LargestMessage,
    MergeFields,
    MessageSource,
    compile_message,
    larger_body,
    message_octets,
    size_problem,
)

SOURCE = MessageSource(
    UUID(int=1), "org", None, "news@shop.example", None, "Hi", "<p>Grüße, {{ firstName }}</p>", "{{ companyName }}."
)


def compiled(**changes: str | None) -> CompiledMessage:
    source = replace(SOURCE, **changes)  # type: ignore[arg-type]  # they are bodies
    return compile_message(source, public_base_url="https://m.example", one_click=True)


def test_the_size_is_that_of_the_rendered_message_for_such_a_relay() -> None:
    cyrillic = compiled(text_body="Здравствуйте.\n" * 1000, html_body="<p>x</p>")
    seven_bit, eight_bit = (message_octets(cyrillic, SAMPLE, eight_bit=eight_bit) for eight_bit in (False, True))
    assert 26_000 < eight_bit < 29_000
    assert 2.5 < seven_bit / eight_bit < 3.5


def test_the_largest_message_is_that_of_the_contact_with_the_longest_values() -> None:
    message = compiled()
    largest = LargestMessage(message, eight_bit=True)
    assert largest.octets == message_octets(message, SAMPLE, eight_bit=True)
    long = MergeFields("kim@example.com", "K" * 500, None, "Big & Co")
    for fields in (MergeFields("a@example.com", "A"), long, MergeFields("no address", "N" * 900), SAMPLE):
        largest.add(fields)
    assert largest.octets == message_octets(message, long, eight_bit=True)


def test_after_its_limit_only_contacts_with_longer_values_are_rendered() -> None:
    def for_some(fields: MergeFields) -> LargestMessage:
        largest = LargestMessage(compiled(text_body=text), eight_bit=True, max_rendered=1)
        largest.add(SAMPLE)
        largest.add(fields)
        return largest

    text = "{% if firstName == 'Eve' %}" + "long " * 500 + "{% endif %}."
    sample = for_some(SAMPLE).octets
    assert for_some(MergeFields("e@example.com", "Eve")).octets == sample, "not rendered: its values are short"
    assert for_some(MergeFields("e@example.com", "Eve", "x" * 99)).octets > sample


def test_the_problem_has_both_sizes_and_the_longer_body_is_named() -> None:
    assert "12,345,678 octets (12.3 MB)" in size_problem(12_345_678, 10_240_000)
    assert "at most 10,240,000 (10.2 MB)" in size_problem(12_345_678, 10_240_000)
    assert larger_body(SOURCE) == "htmlBody"
    assert larger_body(replace(SOURCE, html_body=None)) == "textBody"
