"""An address prefix as a range of the index."""

from hypothesis import given
from hypothesis import strategies as st

from marketing_service.store.email_log import _after_prefix

# No surrogates, as in a database. Few different characters, so that many texts share a prefix.
TEXT = st.text(st.sampled_from("ab\x01\x7f\ud7ff\ue000\uffff\U00010000\U0010ffff"), max_size=5)


@given(prefix=TEXT.filter(bool), address=TEXT)
def test_an_address_is_in_the_range_if_and_only_if_it_starts_with_the_prefix(prefix: str, address: str) -> None:
    end = _after_prefix(prefix)
    # PostgreSQL's "C" collation compares the octets of UTF-8.
    place = address.encode()
    in_range = prefix.encode() <= place and (end is None or place < end.encode())
    assert in_range == address.startswith(prefix)
