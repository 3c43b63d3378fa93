"""The service has one word for each thing (docs/glossary.md): words that it no longer uses do not come back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# To forbid another word, add a line: the word, and what to write instead. A space stands for any space, line break or
# hyphen. Letters around a word make it another word, other characters do not: `_lane` is found, `planet` is not.
OLD_WORDS = {
    "anew": "again",
    "doorbell": "job queue",
    "hand over": "submit",
    "handed over": "submitted",
    "handing over": "submitting",
    "hands over": "submits",
    "handover": "submission",
    "lane": "connection session",
    "lanes": "dispatcher, connection sessions",
    "picker": "consumer",
    "pickers": "consumers",
    "ride": "connection session",
    "rides": "connection sessions",
    "ringer": "enqueuer",
    "rung": "enqueued",
    "so manieth": "a number",
    "whoever": "name the person or the part",
}
OLD_IDENTIFIER = re.compile(r"\b\w*_rest_\w*\b", re.IGNORECASE)

_BETWEEN = r"(?:[\s#*]+|-)"
_OLD_WORD = re.compile(
    rf"(?<![a-z])(?:{'|'.join(re.escape(word).replace(re.escape(' '), _BETWEEN) for word in OLD_WORDS)})(?![a-z])",
    re.IGNORECASE,
)
_TEXTS = {".css", ".html", ".js", ".md", ".py", ".sql", ".svg", ".toml"}


def old_words(text: str) -> list[tuple[int, str]]:
    """Each old word with the number of its line, in the order of the text."""
    found = [*_OLD_WORD.finditer(text), *OLD_IDENTIFIER.finditer(text)]
    return sorted((text.count("\n", 0, match.start()) + 1, " ".join(match[0].split())) for match in found)


def texts() -> Iterator[Path]:
    yield ROOT / "README.md"
    for folder in ("src", "docs"):
        yield from sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in _TEXTS)


def test_no_old_word_is_in_the_source_and_the_documents() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}"
        for path in texts()
        for line, word in old_words(path.read_text(encoding="utf-8"))
    ]
    assert not lines, "old words; OLD_WORDS in this file says what to write instead\n" + "\n".join(lines)


@pytest.mark.parametrize("word", sorted(OLD_WORDS))
@pytest.mark.parametrize("text", ["{}", "_{}", "{}_id", "# Every {}, first", "`{}`"])
def test_an_old_word_is_found(text: str, word: str) -> None:
    for written in (word, word.upper(), word.capitalize(), word.replace(" ", "-")):
        assert [line for line, _ in old_words(f"first\n{text.format(written)}\nthird")] == [2]


def test_an_old_phrase_is_found_across_two_lines() -> None:
    assert old_words("# Messages that workers hand\n# over to the relay") == [(1, "hand # over")]


def test_an_old_identifier_is_found() -> None:
    assert old_words("self._rest_domain(ready)\nFIRST_REST_SECONDS") == [(1, "_rest_domain"), (2, "FIRST_REST_SECONDS")]


@pytest.mark.parametrize("text", ["override", "planes", "string", "strung", "on the other hand, overall", "the_rest"])
def test_a_word_that_contains_an_old_one_is_not_found(text: str) -> None:
    assert old_words(text) == []
