"""Public tokens: only what was issued, for the purpose it was issued for, is read back."""

from __future__ import annotations

import base64
import string
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.tokens import Purpose, TokenKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = b"o" * 32, b"n" * 32
SEND = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab")
BASE64URL = string.ascii_letters + string.digits + "-_"
ring = TokenKeyring([NEW, OLD])


@given(st.uuids(), st.sampled_from(Purpose))
def test_what_was_issued_is_read_back(token_id: UUID, purpose: Purpose) -> None:
    token = ring.issue(purpose, token_id)
    assert len(token) == 43
    assert set(token) <= set(BASE64URL)
    assert ring.read(purpose, token) == token_id
    assert ring.issue(purpose, token_id) == token


def test_a_token_serves_one_purpose() -> None:
    assert ring.read(Purpose.UNSUBSCRIBE, ring.issue(Purpose.OPEN, SEND)) is None
    assert ring.read(Purpose.OPEN, ring.issue(Purpose.UNSUBSCRIBE, SEND)) is None


def test_mailed_tokens_stay_what_they_are() -> None:
    """These are in people's mailboxes: a release must not void them."""
    assert TokenKeyring([OLD]).issue(Purpose.OPEN, SEND) == "AZDx8nwdezqaVQEjRWeJq84IjLcLbCd7NCaIVCOuoY0"
    assert TokenKeyring([OLD]).issue(Purpose.UNSUBSCRIBE, SEND) == "AZDx8nwdezqaVQEjRWeJq8Jem9Se9pHFJIojkJCDgBA"


def test_the_first_key_signs_and_every_key_reads() -> None:
    old_token = TokenKeyring([OLD]).issue(Purpose.OPEN, SEND)
    assert ring.read(Purpose.OPEN, old_token) == SEND
    assert ring.issue(Purpose.OPEN, SEND) == TokenKeyring([NEW]).issue(Purpose.OPEN, SEND)
    assert TokenKeyring([NEW]).read(Purpose.OPEN, old_token) is None


def test_a_ring_needs_a_key() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TokenKeyring([])


def test_one_character_changed_and_it_is_void() -> None:
    """The last character too, whose two spare bits must be zero."""
    token = ring.issue(Purpose.OPEN, SEND)
    for position in range(43):
        for character in set(BASE64URL) - {token[position]}:
            changed = token[:position] + character + token[position + 1 :]
            assert ring.read(Purpose.OPEN, changed) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + "=",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token + "\x00",
        lambda token: token.replace(token[0], chr(ord(token[0]) + 0xFEE0), 1),
        lambda token: base64.b64encode(base64.urlsafe_b64decode(token + "=")).decode(),
        lambda _: "",
        lambda _: "=" * 43,
        lambda _: "é" * 43,
        lambda _: "\ud800" * 43,
        lambda _: "A" * 43,
        lambda _: "A" * 10_000_000,
        lambda _: "+" * 43,
    ],
)
def test_another_spelling_or_rubbish_is_void(change: Callable[[str], str]) -> None:
    assert ring.read(Purpose.OPEN, change(ring.issue(Purpose.OPEN, SEND))) is None


@given(st.text(max_size=60) | st.text(alphabet=BASE64URL, min_size=43, max_size=43))
def test_made_up_tokens_are_void(token: str) -> None:
    assert ring.read(Purpose.UNSUBSCRIBE, token) is None
