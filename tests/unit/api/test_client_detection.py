"""The address of a client: only our own proxies are believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.api.client_detection import UNKNOWN_CLIENT, client_address, client_group


def scope(*forwarded: str, peer: str | None = "192.0.2.9") -> dict[str, Any]:
    lines = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    return {"client": (peer, 1234) if peer else None, "headers": [(b"host", b"x"), *lines]}


@pytest.mark.parametrize(
    ("forwarded", "hops", "address"),
    [
        (("203.0.113.1",), 0, "192.0.2.9"),
        (("198.51.100.1, 203.0.113.1",), 1, "203.0.113.1"),
        (("198.51.100.1, 203.0.113.1",), 2, "198.51.100.1"),
        (("198.51.100.1, 203.0.113.1, 203.0.113.2",), 2, "203.0.113.1"),
        # The proxy may add a line of its own. Then the line of the client comes first.
        (("198.51.100.1", "203.0.113.1"), 1, "203.0.113.1"),
        (("198.51.100.1, 198.51.100.2", "203.0.113.1"), 2, "198.51.100.2"),
        # Empty entries do not count.
        ((" ,, 203.0.113.1 , ",), 1, "203.0.113.1"),
    ],
)
def test_the_proxies_count_from_the_right(forwarded: tuple[str, ...], hops: int, address: str) -> None:
    assert client_address(scope(*forwarded), hops) == address
    assert client_group(scope(*forwarded), hops) == address


@pytest.mark.parametrize(
    ("forwarded", "group"),
    [(("203.0.113.1",), "203.0.113.1"), ((), "192.0.2.9"), (("",), "192.0.2.9")],
)
def test_with_fewer_entries_than_proxies_the_address_is_not_known(forwarded: tuple[str, ...], group: str) -> None:
    """A limit still needs somebody to count for: the first entry, or the peer."""
    assert client_address(scope(*forwarded), 3) is None
    assert client_group(scope(*forwarded), 3) == group


@pytest.mark.parametrize(
    ("entry", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:443", "192.0.2.1"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", UNKNOWN_CLIENT),
        ("_hidden", UNKNOWN_CLIENT),
        ("[", UNKNOWN_CLIENT),
        ("192.0.2.256", UNKNOWN_CLIENT),
        ("0x7f.1", UNKNOWN_CLIENT),
    ],
)
def test_a_client_is_an_ipv4_address_or_a_64(entry: str, group: str) -> None:
    assert client_group(scope(entry), 1) == group
    assert client_group(scope(peer=entry), 0) == group


def test_clients_without_an_address_share_one_group() -> None:
    assert client_group(scope(peer=None), 0) == UNKNOWN_CLIENT
    assert client_group(scope(peer=""), 0) == UNKNOWN_CLIENT


@given(st.lists(st.text(st.characters(max_codepoint=255))), st.integers(0, 10))
def test_no_header_breaks_it(forwarded: list[str], hops: int) -> None:
    assert client_group(scope(*forwarded), hops)
