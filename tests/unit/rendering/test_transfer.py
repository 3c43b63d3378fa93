"""Pieces that are encoded separately and joined decode to the whole text."""

from __future__ import annotations

import quopri
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.rendering.transfer import eight_bit_text, longest_line, quoted_printable

if TYPE_CHECKING:
    from collections.abc import Callable

stretches = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    st.text("ab =.\t\né😀", max_size=200),
    st.integers(70, 80).map("x".__mul__),
    st.sampled_from(["\n", " ", "\t", ".", "=", "From ", ". \n", "é" * 30, " " * 80]),
)


@settings(deadline=None)
@given(st.lists(stretches, max_size=8))
def test_quoted_printable_pieces_can_be_joined(pieces: list[str]) -> None:
    encoded = b"".join(map(quoted_printable, [*pieces, "\n"]))
    assert quopri.decodestring(encoded).decode() == ("".join(pieces) + "\n").replace("\n", "\r\n")
    assert encoded.count(b"\r") == encoded.count(b"\n") == encoded.count(b"\r\n")
    assert longest_line(encoded) <= 76
    assert not any(line.endswith((b" ", b"\t")) for line in encoded.split(b"\r\n"))
    assert encoded.isascii()


@settings(deadline=None)
@pytest.mark.parametrize("encode", [eight_bit_text, quoted_printable])
@given(st.lists(st.text("\r\n.aé", max_size=8), max_size=6))
def test_every_line_end_becomes_crlf(encode: Callable[[str], bytes], pieces: list[str]) -> None:
    """Some relays read a bare CR or LF as a line end, and the text after it as a final dot and a command."""
    encoded = b"".join(map(encode, [*pieces, "\n"]))
    assert encoded.count(b"\r") == encoded.count(b"\n") == encoded.count(b"\r\n")


@pytest.mark.parametrize("end", [" ", "\t", "  "])
@pytest.mark.parametrize("start", ["", "é"])
def test_white_space_at_the_end_of_a_line_of_any_length_is_kept(start: str, end: str) -> None:
    for length in range(50, 160):
        text = f"{start}{'x' * length}{end}\nnext"
        encoded = quoted_printable(text)
        assert longest_line(encoded) <= 76
        assert quopri.decodestring(encoded).decode() == text.replace("\n", "\r\n")


@settings(deadline=None)
@given(st.lists(stretches, max_size=8))
def test_8_bit_pieces_can_be_joined(pieces: list[str]) -> None:
    encoded = b"".join(map(eight_bit_text, pieces))
    assert encoded == "".join(pieces).replace("\n", "\r\n").encode()


def test_the_longest_line_is_measured_without_its_end() -> None:
    assert longest_line(b"") == 0
    assert longest_line(b"a\r\nbcd\r\n") == 3
