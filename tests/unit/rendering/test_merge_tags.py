"""Merge tags of other mailing systems are found, and ordinary texts are not. `merge_tags.toml` has both."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from marketing_service.rendering import Finding, MessageSource, Severity, merge_tag_findings
from marketing_service.rendering.merge_tags import MergeTag, find_merge_tags

TABLE = tomllib.loads((Path(__file__).parent / "merge_tags.toml").read_text(encoding="utf-8"))
SOURCE = MessageSource(UUID(int=1), "org", None, "news@shop.example", None, "Hello", None, "x")


def found(text: str, place: str) -> list[MergeTag]:
    return find_merge_tags(text, html=place == "htmlBody", is_template=place != "fromName")


@pytest.mark.parametrize("row", TABLE["tag"], ids=[row["text"] for row in TABLE["tag"]])
def test_a_merge_tag_of_another_system_is_found(row: dict[str, str]) -> None:
    assert row["tag"] in [tag.text for tag in found(row["text"], row["place"])]


@pytest.mark.parametrize("row", TABLE["none"], ids=[row["text"] for row in TABLE["none"]])
def test_another_text_is_not_taken_for_a_merge_tag(row: dict[str, str]) -> None:
    assert found(row["text"], row["place"]) == []


def test_all_other_texts_together_are_not_taken_for_merge_tags() -> None:
    for place in ("htmlBody", "textBody"):
        texts = [row["text"] for row in TABLE["none"] if row["place"] == place and "```" not in row["text"]]
        assert found("\n\n".join(texts), place) == []


def test_the_table_has_many_systems() -> None:
    assert len({row["used_by"] for row in TABLE["tag"] if "used_by" in row}) >= 12
    assert min(len(TABLE["tag"]), len(TABLE["none"])) >= 60


def findings(**fields: str | None) -> list[Finding]:
    return list(merge_tag_findings(replace(SOURCE, **fields).written))  # type: ignore[arg-type]  # they are texts


def test_each_different_tag_is_reported_once_with_its_first_line() -> None:
    html = (
        "<p>{{ firstName }}\n<a\ntitle='[NAME]' href='*|URL|*'>x</a>\n&amp;*|FNAME|*\n*|FNAME|* [EMAIL]</p>\n*|FNAME|*"
    )
    reported = [(finding.message.split('"')[1], finding.line, finding.count) for finding in findings(html_body=html)]
    assert reported == [("[NAME]", 3, 1), ("*|URL|*", 3, 1), ("*|FNAME|*", 4, 3), ("[EMAIL]", 5, 1)]


def test_a_finding_names_the_system_and_the_placeholder_to_write_instead() -> None:
    (finding,) = findings(text_body="Dear\n*|FNAME|*")
    assert (finding.code, finding.severity, finding.place) == ("MERGE_TAG", Severity.WARNING, "textBody")
    assert finding.message == (
        '"*|FNAME|*" is a merge tag of Mailchimp. This service does not replace it, so recipients would see it. '
        "Write {{ firstName }} instead."
    )
    (finding,) = findings(subject="For [[age]]")
    assert (finding.place, finding.line) == ("subject", 1)
    assert "looks like a merge tag of another system" in finding.message
    assert finding.message.endswith("Replace or remove it.")


def test_a_placeholder_in_the_senders_name_is_reported_because_it_is_not_replaced_there() -> None:
    (finding,) = findings(from_name="{{ companyName }}")
    assert (finding.place, "not replaced in this field" in finding.message) == ("fromName", True)


def test_all_fields_are_read_and_the_number_of_findings_is_bounded() -> None:
    many = "\n".join(f"*|FIELD{number}|*" for number in range(500))
    reported = findings(from_name="[NAME]", subject="*|X|*", html_body=many, text_body=many)
    assert [finding.place for finding in reported] == ["fromName", "subject"] + ["htmlBody"] * 21 + ["textBody"] * 21
    assert (reported[-1].line, reported[-1].count) == (21, 480)
    assert "480 more" in reported[-1].message


def test_a_long_tag_is_shortened_and_a_paragraph_between_two_signs_is_none() -> None:
    (finding,) = findings(text_body=f"*|{'F' * 150}|*")
    assert "F…" in finding.message
    assert len(finding.message) < 250
    assert findings(text_body=f"*|{'F' * 300}|*") == []


def test_nested_conditional_comments_are_read_once() -> None:
    assert findings(html_body="<!--[if a]>" * 2000 + "*|FNAME|* x-->") == []
