"""Return paths: only an address that was created for an attempt is accepted, in upper or lower case."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.tokens import BounceAddresses, Bounced, Mailbox, Purpose, TokenKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = b"o" * 32, b"n" * 32
SEND = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab")
DOMAIN = "bounce.acme.example"
addresses = BounceAddresses(TokenKeyring([NEW, OLD]), DOMAIN)
attempts = st.integers(1, 2**15 - 1)


@settings(deadline=None)
@given(st.uuids(), attempts)
def test_a_return_path_is_read_back_in_any_case(send_id: UUID, attempt: int) -> None:
    address = addresses.of(send_id, attempt)
    assert address == address.lower()
    for received in (address, address.upper(), address.title()):
        assert addresses.read(received) == Bounced(send_id, attempt)


@settings(deadline=None)
@given(st.uuids(), attempts)
def test_a_return_path_is_within_the_limits_of_smtp(send_id: UUID, attempt: int) -> None:
    """RFC 5321 §4.5.3.1: 64 octets of local part, 256 of path. It is an atom, so it needs no quotes."""
    local_part, _, _ = addresses.of(send_id, attempt).rpartition("@")
    assert len(local_part) == 50
    assert local_part.replace("-", "").isalnum()
    longest = BounceAddresses(TokenKeyring([NEW]), "d" * 63 + ".example")
    assert len(longest.of(send_id, attempt)) <= 254


def test_mailed_return_paths_stay_valid() -> None:
    """Reports for these can come for days, so a new version must still accept them."""
    made = BounceAddresses(TokenKeyring([OLD]), DOMAIN).of(SEND, 3)
    assert made == "b-agipd4t4dv5tvgsvaerukz4jvmaahh24b7sjl7jthzs2rljf@bounce.acme.example"


def test_the_first_key_signs_and_every_key_reads() -> None:
    old = BounceAddresses(TokenKeyring([OLD]), DOMAIN).of(SEND, 1)
    assert addresses.read(old) == (SEND, 1)
    assert BounceAddresses(TokenKeyring([NEW]), DOMAIN).read(old) is None


def test_an_attempt_is_signed_with_its_send() -> None:
    assert addresses.of(SEND, 1) != addresses.of(SEND, 2)


def test_a_change_of_any_character_makes_it_invalid() -> None:
    address = addresses.of(SEND, 1)
    for place in range(2, 50):
        for character in set("abcdefghijklmnopqrstuvwxyz234567") - {address[place]}:
            assert addresses.read(address[:place] + character + address[place + 1 :]) is None


def test_the_token_of_a_link_is_not_a_return_path() -> None:
    keyring = TokenKeyring([NEW])
    for purpose in Purpose:
        assert addresses.read(f"b-{keyring.issue(purpose, SEND)}@{DOMAIN}") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda address: address.replace("@", "@x."),
        lambda address: address + ".",
        lambda address: address + "x",
        lambda address: address + "\n",
        lambda address: " " + address,
        lambda address: "<" + address + ">",
        lambda address: address.replace("b-", "b=", 1),
        lambda address: address.replace("b-", "", 1),
        lambda address: address.replace("b-", "b-b-", 1),
        lambda address: address.replace("@", "======@"),
        lambda address: address.replace("@", "+x@"),
        lambda address: address.partition("@")[0],
        lambda address: address.partition("@")[0] + "@evil.example",
        lambda _: "b-@" + DOMAIN,
        lambda _: "b-" + "a" * 48 + "@" + DOMAIN,
        lambda _: "b-" + "\u0131" * 48 + "@" + DOMAIN,
        lambda _: "a" * 1_000_000 + "@" + DOMAIN,
        lambda _: "postmaster@" + DOMAIN,
        lambda _: "",
        lambda _: "\ud800@" + DOMAIN,
    ],
)
def test_another_spelling_or_garbage_is_refused(change: Callable[[str], str]) -> None:
    assert addresses.read(change(addresses.of(SEND, 1))) is None


@settings(deadline=None)
@given(st.text(max_size=80))
def test_invented_local_parts_are_refused(local_part: str) -> None:
    assert addresses.read(f"b-{local_part}@{DOMAIN}") is None


def test_complaints_have_their_own_address() -> None:
    assert addresses.complaints == f"complaints@{DOMAIN}"
    assert addresses.read(addresses.complaints.upper()) is Mailbox.COMPLAINTS


def test_a_return_path_is_found_in_a_header() -> None:
    address = addresses.of(SEND, 2)
    forged = "b-" + "a" * 48 + "@" + DOMAIN
    assert addresses.find(f"<{address.upper()}>") == (SEND, 2)
    assert addresses.find(f"from {forged} via {address}; yesterday") == (SEND, 2)
    assert addresses.find(f"{address}.evil.example") is None
    assert addresses.find(forged) is None
    assert addresses.find("") is None
