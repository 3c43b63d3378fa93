"""The reason in the body of an error response."""

from __future__ import annotations

import pytest

from marketing_service.audience.crm_json import read_detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"title": "Bad", "detail": "No such status."}', "No such status."),
        (b'{"title": "Bad", "detail": ""}', "Bad"),
        (b'{"message": "No."}', "No."),
        (b'{"detail": ["No."]}', None),
        (b'{"detail": "a\\nb"}', None),
        (b'{"detail": "' + b"x" * 500 + b'"}', "x" * 200),
        (b"<html>", None),
        (b"[]", None),
        (b"[" * 200_000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_the_reason_of_an_error_response(body: bytes, detail: str | None) -> None:
    assert read_detail(body) == detail
