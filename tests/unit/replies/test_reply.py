"""Parsing of a reply's text."""

from __future__ import annotations

import pytest

from marketing_service.replies import Reply


@pytest.mark.parametrize(
    ("text", "enhanced_code"),
    [
        ("5.1.1 No such user", "5.1.1"),
        ("5.1.1", "5.1.1"),
        ("4.7.500 Server busy", "4.7.500"),
        ("#5.1.0 Address rejected.", "5.1.0"),
        ("sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        ("User unknown", None),
        ("5.1.2.3 is on our block list", None),
        ("3.1.1 is no class", None),
        ("version 5.1.1 of this server", None),
    ],
)
def test_the_enhanced_code_is_found_in_the_text(text: str, enhanced_code: str | None) -> None:
    assert Reply.of(550, text).enhanced_code == enhanced_code


def test_several_lines_become_one_without_control_characters() -> None:
    reply = Reply.of(550, "5.1.1 The account\r\n\x005.1.1 does not\x1b[31m exist\n")
    assert reply.text == "5.1.1 The account 5.1.1 does not [31m exist"


def test_a_long_text_is_cut() -> None:
    assert len(Reply.of(554, "x" * 10_000).text) == 500
