"""Public tokens: a token is accepted only if it was issued, and only for its purpose."""

from __future__ import annotations

import base64
import string
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.tokens import Purpose, TokenKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = b"o" * 32, b"n" * 32
SEND = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab")
BASE64URL = string.ascii_letters + string.digits + "-_"
keyring = TokenKeyring([NEW, OLD])


@settings(deadline=None)
@given(st.uuids(), st.sampled_from(Purpose))
def test_an_issued_token_is_read_back(token_id: UUID, purpose: Purpose) -> None:
    token = keyring.issue(purpose, token_id)
    assert len(token) == 43
    assert set(token) <= set(BASE64URL)
    assert keyring.read(purpose, token) == token_id
    assert keyring.issue(purpose, token_id) == token


def test_a_token_serves_one_purpose() -> None:
    assert keyring.read(Purpose.UNSUBSCRIBE, keyring.issue(Purpose.OPEN, SEND)) is None
    assert keyring.read(Purpose.OPEN, keyring.issue(Purpose.UNSUBSCRIBE, SEND)) is None


def test_mailed_tokens_stay_valid() -> None:
    """These are in mailboxes, so a new version must still accept them."""
    assert TokenKeyring([OLD]).issue(Purpose.OPEN, SEND) == "AZDx8nwdezqaVQEjRWeJq84IjLcLbCd7NCaIVCOuoY0"
    assert TokenKeyring([OLD]).issue(Purpose.UNSUBSCRIBE, SEND) == "AZDx8nwdezqaVQEjRWeJq8Jem9Se9pHFJIojkJCDgBA"


def test_the_first_key_signs_and_every_key_reads() -> None:
    old_token = TokenKeyring([OLD]).issue(Purpose.OPEN, SEND)
    assert keyring.read(Purpose.OPEN, old_token) == SEND
    assert keyring.issue(Purpose.OPEN, SEND) == TokenKeyring([NEW]).issue(Purpose.OPEN, SEND)
    assert TokenKeyring([NEW]).read(Purpose.OPEN, old_token) is None


def test_a_keyring_needs_a_key() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TokenKeyring([])


def test_a_change_of_any_character_makes_it_invalid() -> None:
    """Also of the last character, whose two unused bits must be zero."""
    token = keyring.issue(Purpose.OPEN, SEND)
    for position in range(43):
        for character in set(BASE64URL) - {token[position]}:
            changed = token[:position] + character + token[position + 1 :]
            assert keyring.read(Purpose.OPEN, changed) is None


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
def test_another_spelling_or_garbage_is_refused(change: Callable[[str], str]) -> None:
    assert keyring.read(Purpose.OPEN, change(keyring.issue(Purpose.OPEN, SEND))) is None


@settings(deadline=None)
@given(st.text(max_size=60) | st.text(alphabet=BASE64URL, min_size=43, max_size=43))
def test_invented_tokens_are_refused(token: str) -> None:
    assert keyring.read(Purpose.UNSUBSCRIBE, token) is None
