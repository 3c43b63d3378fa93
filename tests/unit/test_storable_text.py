"""Text that PostgreSQL cannot store as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.storable_text import is_storable, storable


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("", ""),
        ("Zoë 😀\r\n\t", "Zoë 😀\r\n\t"),
        ("\ufffd", "\ufffd"),
        ("a\x00b", "a\ufffdb"),
        ("cut \ud83d", "cut \ufffd"),
        ("\udc00 start", "\ufffd start"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_what_cannot_be_stored_is_replaced(text: str, stored: str) -> None:
    assert storable(text) == stored
    assert is_storable(text) is (text == stored)


@settings(deadline=None)
@given(st.text(st.characters(categories=None), max_size=20) | st.text("a\x00\ud83d\ude00é", max_size=20))
def test_the_result_is_valid_utf_8_without_nul_and_stays_as_it_is(text: str) -> None:
    stored = storable(text)
    assert b"\x00" not in stored.encode("utf-8")
    assert storable(stored) == stored
    assert is_storable(stored)
