"""JSON bodies are read in linear time and within limits."""

from __future__ import annotations

import json
import re

import pytest

from marketing_service.api.json_body import MAX_DEPTH, MAX_VALUES, parse_json


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, -2.5e3, true, null, "x"], "b": {}}',
        '"[[[{{{"',
        '{"body": "' + "{{ a }}[" * 20_000 + '"}',
        r'{"a": "\"[\\", "\\\"{": "]"}',
        '"' + '\\"[' * 50_000 + '"',
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        "\ufeff[]",
        ' "é\\ud83d" ',
    ],
)
def test_valid_texts_are_read_as_usual(text: str) -> None:
    assert parse_json(text.encode()) == json.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested more than 32 levels"),
        (b"[" + b"[]," * MAX_VALUES + b"[]]", "more than 2,000 values"),
        (b'{"a":' * 1_000 + b"1" + b"}" * 1_000, "nested more than 32 levels"),
        (b"{" + b",".join(b'"f%d":1' % n for n in range(MAX_VALUES + 2)) + b"}", "more than 2,000 values"),
        (b'["' + b'" "' * (4 * MAX_VALUES) + b'"]', "more than 2,000 values"),
        (b'{"a": 1, "a": 2}', "same name twice"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[1e999]", "too large"),
        (b"[" + b"9" * 1_001 + b"]", "more than 1,000 digits"),
        (b"[0." + b"9" * 1_001 + b"]", "too large or too long"),
        ("[]".encode("utf-16"), "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'["a', "Unterminated string"),
        (b'"\\', "Unterminated string"),
        (b"[" + b'"\\' * 3 + b"[", "Invalid"),
        (b"", "Expecting value"),
        (b"]" * 100, "Expecting value"),
    ],
)
def test_other_texts_are_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(json.JSONDecodeError, match=re.escape(reason)):
        parse_json(body)
