"""The set of fingerprints tells whether a text was added before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marketing_service.preflight.fingerprints import FingerprintSet


@given(st.lists(st.text(max_size=3)))
def test_a_text_is_new_only_the_first_time(texts: list[str]) -> None:
    seen = FingerprintSet()
    before: set[str] = set()
    for text in texts:
        assert seen.add(text) is (text not in before)
        before.add(text)


def test_the_set_grows_and_takes_at_most_32_octets_per_text() -> None:
    seen = FingerprintSet()
    assert all(seen.add(f"person{number}@example.com") for number in range(40_000))
    assert not any(seen.add(f"person{number}@example.com") for number in range(0, 40_000, 7))
    assert seen._places.itemsize * len(seen._places) <= 32 * 40_000
