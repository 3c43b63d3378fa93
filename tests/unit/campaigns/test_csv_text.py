"""No reader of our CSV sees a formula, whichever separator it uses, and our import reads the original text again."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketing_service.api.csv_cells import lines
from marketing_service.campaigns.csv_text import neutralised, original

SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
IGNORED = (
    "",
    " ",
    "\ufeff",
    "\u200b",
    "\u2060",
    "\u00ad",
    "\x00",
    "\x1b",
    "\u00a0",
    "\u3164",
    "\u202e",
    "\ufe0f",
    '"',
    "\u3000",
)
PIECES = [*SIGNS, *IGNORED, ",", ";", "\t", "\r", "\n", "\r\n", "'", '""', "a", "1+cmd|' /C calc'!A0", "é"]

hostile = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
texts = hostile | st.text(st.characters(codec="utf-8"), max_size=20)


def is_ignored(char: str) -> bool:
    """Decided by Unicode, and not by the list of the code under test."""
    return unicodedata.category(char) in {"Cc", "Cf", "Zs", "Zl", "Zp"} or char in '"\u3164\ufe0f'


def is_formula(cell: str) -> bool:
    visible = next((char for char in cell if not is_ignored(char)), "")
    return visible in SIGNS if visible else False


def cells(file: bytes, delimiter: str) -> list[str]:
    text = file.decode("utf-8-sig")
    return [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.lists(texts | st.none() | st.integers(0, 999), min_size=1, max_size=4), min_size=1, max_size=3))
@example([["x", "a;=1+cmd", "a\t=1", "a\n=1"]])
@example([["x", 'a;"=1', "y;", 5, "=1"]])
@example([["\ufeff=1", ";=1", "x;\u200b=1"]])
def test_no_reader_sees_a_formula(rows: list[list[str | int | None]]) -> None:
    file = lines(rows)
    for delimiter in ",;\t":
        assert [cell for cell in cells(file, delimiter) if is_formula(cell)] == []
    assert [cell for cell in cells(file, ",") if cell.startswith(("\t", "\r", "\n"))] == []


@settings(max_examples=500, deadline=None)
@given(texts)
@example("'=1")
@example("a;''=1")
@example("'\t'=")
def test_the_original_text_can_be_read_again(text: str) -> None:
    assert original(neutralised(text)) == text
    (cell,) = cells(lines([[text]]), ",") or [""]
    assert original(cell) == text


@pytest.mark.parametrize("before", IGNORED)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_is_found_behind_what_a_reader_may_ignore(before: str, sign: str) -> None:
    assert neutralised(f"{before}{sign}1") == f"'{before}{sign}1"
    for separator in ",;\t\n":
        assert neutralised(f"a{separator}{before}{sign}1").endswith(f"a{separator}{before}'{sign}1")


@pytest.mark.parametrize(
    "text", ["", "Ada", "it's 5-3=2, or 1+1", "a;b", "550 5.1.1 <x@y.example>: no such user", "'a'"]
)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert neutralised(text) == text


def test_every_text_is_quoted_and_a_number_is_not() -> None:
    assert lines([["a", 'b"c', 5, None]]) == b'"a","b""c",5,""\r\n'
