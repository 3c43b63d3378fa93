"""If-Match (RFC 9110)."""

import pytest

from marketing_service.api.preconditions import etag, versions_in
from marketing_service.errors import InvalidInput


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        (None, None),
        ("*", None),
        (" * ", None),
        ('"3"', {3}),
        ('"3", "4"', {3, 4}),
        ('"3",,"4"', {3, 4}),
        ('W/"3"', set()),
        ('W/"3", "4"', {4}),
        ('"03"', set()),
        ('"abc", ""', set()),
        ('"3,4"', set()),
        ('"99999999999999999999"', set()),
    ],
)
def test_the_versions_that_a_header_accepts(header: str | None, versions: set[int] | None) -> None:
    found: object = versions_in(header)
    assert found == versions


@pytest.mark.parametrize("header", ["", "3", '"3', "'3'", '"3" or "4"', '*, "3"', 'w/"3"', ",", '"é"'])
def test_a_header_that_cannot_be_read_is_named(header: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        versions_in(header)
    assert refused.value.errors[0].field == "If-Match"


def test_a_hostile_header_is_parsed_in_linear_time() -> None:
    with pytest.raises(InvalidInput):
        versions_in('"1" ' + " ,\t" * 20_000 + "x")


def test_an_etag_is_a_version_that_if_match_accepts() -> None:
    assert versions_in(etag(12)) == frozenset({12})
