"""Characters that are not allowed in names and subjects: refused when typed, removed from values of the CRM."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.rendering import SAMPLE, MergeFields, header_text_problem
from marketing_service.rendering.characters import character_problem, one_line, without_byte_order_mark

BIDI = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
REMOVED = [*BIDI, "\ufeff", "\ufdd0", "\ufdef", "\uffff", "\U0001fffe", "\U0010ffff", "\ud83d", "\udc00"]
LINE_ENDS = ["\x00", "\t", "\r", "\n", "\x1f", "\x7f", "\x85", "\x9f", "\u2028", "\u2029"]
ALLOWED = ["\u200e", "\u200f", "\u061c", "\u200c", "\u200d", "\u00a0", "\ufffd", "é", "😀", "\U000e0067"]


@pytest.mark.parametrize("character", [*REMOVED, *LINE_ENDS])
def test_a_typed_character_is_refused_and_named(character: str) -> None:
    problem = header_text_problem(f"ab{character}c")
    assert problem is not None
    assert f"(U+{ord(character):04X}) at position 3" in problem


def test_the_name_of_an_invisible_character_is_given() -> None:
    assert character_problem("a\u202eb") == (
        "It contains an invisible character (U+202E) at position 2: RIGHT-TO-LEFT OVERRIDE. Remove it."
    )


@pytest.mark.parametrize("character", ALLOWED)
def test_a_character_that_scripts_need_is_allowed_and_kept(character: str) -> None:
    assert header_text_problem(f"a{character}b") is None
    assert one_line(f"a{character}b") == f"a{character}b"


@pytest.mark.parametrize("character", REMOVED)
@pytest.mark.parametrize("field", ["first_name", "last_name", "company_name"])
def test_a_character_in_a_value_of_the_crm_is_removed(field: str, character: str) -> None:
    fields = SAMPLE._replace(**{field: f"{character}An{character}n{character}"})
    assert "Ann" in fields.cleaned().values()


@pytest.mark.parametrize("character", LINE_ENDS)
def test_a_line_end_in_a_value_of_the_crm_becomes_a_space(character: str) -> None:
    assert MergeFields(None, f"Ann{character}Marie").cleaned()["firstName"] == "Ann Marie"


@settings(deadline=None)
@given(st.text(st.characters(categories=None), max_size=30))
def test_what_is_left_of_a_value_would_be_accepted_if_it_was_typed(text: str) -> None:
    assert character_problem(one_line(text)) is None


BOM = "\ufeff"


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (f"{BOM}<html><p>x", "<html><p>x"),
        (f"{BOM}{BOM}Hello", "Hello"),
        (f" \n{BOM} Hello", " \n Hello"),
        (f"{BOM}<!DOCTYPE html>\n{BOM}<html>", "<!DOCTYPE html>\n<html>"),
        (f"<!-- made by x -->{BOM}<html>", "<!-- made by x --><html>"),
        (f'{BOM}<?xml version="1.0"?>{BOM}<html>', '<?xml version="1.0"?><html>'),
        (f"{BOM}{{{{ firstName }}}}", "{{ firstName }}"),
        ("\u00ef\u00bb\u00bf<html>", "<html>"),
        (BOM, ""),
        ("", ""),
        ("\u00efle", "\u00efle"),
        (f"a{BOM}b", f"a{BOM}b"),
        (f"<html>{BOM}", f"<html>{BOM}"),
        (f"<!-- {BOM}never closed", f"<!-- {BOM}never closed"),
    ],
)
def test_a_byte_order_mark_before_the_content_is_removed_and_elsewhere_u_feff_stays(body: str, left: str) -> None:
    assert without_byte_order_mark(body) == left
