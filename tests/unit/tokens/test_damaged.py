"""A token is found in what mail programs make of a link, by its signature and with bounded work."""

from __future__ import annotations

import random
import re
import string
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.tokens import MAX_CANDIDATES, MAX_TEXT, DamagedText, Purpose, TokenKeyring

if TYPE_CHECKING:
    from collections.abc import Callable

keyring = TokenKeyring([b"n" * 32, b"o" * 32])
SEND, OTHER = UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ab"), UUID("0190f1f2-7c1d-7b3a-9a55-0123456789ac")
TOKEN = keyring.issue(Purpose.UNSUBSCRIBE, SEND)
BASE64URL = string.ascii_letters + string.digits + "-_"
HALVES = (TOKEN[:20], TOKEN[20:])


def ids(text: str, purpose: Purpose = Purpose.UNSUBSCRIBE) -> list[UUID]:
    return [found.token_id for found in DamagedText(text).find(keyring, purpose)]


@pytest.mark.parametrize(
    "around",
    [
        "{}", "{}.", "{},", "{})", "({})", "<{}>", '"{}"', "\u201c{}\u201d", "\u00ab{}\u00bb", "{}\u2026", "[{}]]",
        "{}*",
        "**{}**", "_{}_", "`{}`", "{};", "{}'", "{}!", "{}|", "{}}}", "{} ", "{}\u00a0", "{}\u200b", "\ufeff{}",
        "{}\x00",
        "{}=", "{}=\n", "{}=20", "{}&amp;utm=1", "{}&quot;", "{}?utm_source=x", "{}#top", "{}/", "//{}", "\\{}",
        "{}%3E",
        "%22{}", "%253E{}%253e", "3D{}", "=3D{}", "22{}", "{}amp", "{}A", "A{}", "{}-_-", "https://x.example/u/{}/more",
        "{0}{0}", "{0}/{0}", "{}\u3092\u3054\u89a7", "\ufffd{}\ufffd",
    ],
)  # fmt: skip
def test_what_stands_around_a_token_is_ignored(around: str) -> None:
    assert ids(around.format(TOKEN)) == [SEND]


@pytest.mark.parametrize(
    "between",
    [
        "=\n", "=\r\n", "=3D\n", "=3D\r\n", "= \r\n", "\r\n", "\n", "\r\n ", "\n> ", " ", "\t", "=0A", "=0D=0A",
        "=3D0A",
        "%0A", "%0D%0A", "=%0A", "%3D%0A", "%253D%250D%250A", "\\", "\u00ad", "\u200b", "\u2060", "&#8203;", "&shy;",
        "&#10;", "<", "/", "=E2=80=8B", "%E2%80%8B", "...", "+",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [1, 21, 42])
def test_two_halves_of_a_token_are_joined(between: str, place: int) -> None:
    assert ids(TOKEN[:place] + between + TOKEN[place:]) == [SEND]


def token_with(part: str) -> tuple[UUID, str]:
    """A send whose token contains this text."""
    numbers = random.Random(part)
    while True:
        token_id = UUID(int=numbers.getrandbits(128))
        token = keyring.issue(Purpose.UNSUBSCRIBE, token_id)
        if part in token:
            return token_id, token


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("_", "=5F"), ("_", "%5F"), ("_", "%255f"), ("_", "&#95;"), ("_", "&#x5f;"), ("_", "&lowbar;"), ("_", "\\_"),
        ("-", "=2D"), ("-", "=2d"), ("-", "&#45;"), ("-", "\u2011"), ("-", "\u2013"), ("-", "\u2014"), ("-", "\u2212"),
        ("--", "\u2013"), ("--", "\u2014"), ("k", "%6B"), ("k", "%6b"), ("k", "%256B"), ("k", "=6B"),
    ],
)  # fmt: skip
def test_an_encoded_character_of_a_token_is_read(part: str, written: str) -> None:
    token_id, token = token_with(part)
    assert ids(token.replace(part, written)) == [token_id]


def test_a_token_whose_start_looks_encoded_is_read_as_it_is() -> None:
    """`=AB` in front of the rest of the token is no quoted-printable, and `%AB` no percent-encoding."""
    token_id = next(
        UUID(int=number << 96)
        for number in range(10_000)
        if re.match("[0-9A-F]{2}", keyring.issue(Purpose.UNSUBSCRIBE, UUID(int=number << 96)))
    )
    token = keyring.issue(Purpose.UNSUBSCRIBE, token_id)
    assert ids("=" + token) == ids("%" + token) == [token_id]


@given(
    before=st.text(alphabet=BASE64URL + " .=%&;/\\<>\n", max_size=80),
    after=st.text(alphabet=BASE64URL + " .=%&;/\\<>\n", max_size=80),
)
def test_the_signature_finds_a_token_in_text_of_the_same_alphabet(before: str, after: str) -> None:
    assert ids(f"{before}\n{TOKEN}\n{after}") == [SEND]
    assert ids(f"{before.rstrip('=%&;')}{TOKEN}{after}") == [SEND]


@given(st.text(max_size=200) | st.text(alphabet=BASE64URL, min_size=43, max_size=200))
def test_text_without_a_signature_has_no_token(text: str) -> None:
    assert ids(text) == []


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.UNSUBSCRIBE])
def test_a_token_of_another_purpose_is_not_found(purpose: Purpose) -> None:
    assert ids(f'"{keyring.issue(purpose, SEND)}"') == []


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1],
        lambda token: token[1:],
        lambda token: token.swapcase(),
        lambda token: token[:20] + token[21:],
        lambda token: token[:20] + token[21] + token[20] + token[22:],
        lambda token: token[::-1],
    ],
)
def test_a_token_that_lacks_a_character_is_not_found(change: Callable[[str], str]) -> None:
    assert ids(f" {change(TOKEN)}.") == []


def test_the_tokens_of_two_sends_are_both_found() -> None:
    other = keyring.issue(Purpose.UNSUBSCRIBE, OTHER)
    assert set(ids(f"{TOKEN}/{other}")) == {SEND, OTHER}
    assert set(ids(f"{TOKEN}{other}")) == {SEND, OTHER}
    assert set(ids(f"{HALVES[0]}=\n{HALVES[1]} {other}.")) == {SEND, OTHER}


def test_tokens_of_every_key_are_found() -> None:
    old = TokenKeyring([b"o" * 32]).issue(Purpose.UNSUBSCRIBE, SEND)
    assert ids(f"{old}.{TOKEN}.") == [SEND]


def test_what_follows_a_token_is_known_in_each_reading() -> None:
    """The most decoded reading comes first."""
    (found,) = DamagedText(f"{TOKEN}/1=3D2").find(keyring, Purpose.UNSUBSCRIBE)
    assert found == (SEND, TOKEN, ("/1=2", "/1=3D2"))


def quoted(text: str) -> str:
    return "".join(f"={ord(char):02X}" for char in text)


@pytest.mark.parametrize("size", [MAX_TEXT, MAX_TEXT + 1])
def test_a_text_over_the_limit_is_not_read(size: int) -> None:
    text = TOKEN + "." * (size - len(TOKEN))
    assert ids(text) == ([SEND] if size <= MAX_TEXT else [])
    assert len(DamagedText("%" * size).readings) == (1 if size <= MAX_TEXT else 0)


class CountingKeyring(TokenKeyring):
    """Counts the candidates that are tested."""

    def __init__(self) -> None:
        super().__init__([b"n" * 32])
        self.tested = 0

    def read(self, purpose: Purpose, token: str) -> UUID | None:
        self.tested += 1
        return super().read(purpose, token)


@pytest.mark.parametrize(
    "text",
    [
        "A" * MAX_TEXT,
        "".join(random.Random(1).choices(BASE64URL, k=MAX_TEXT)),
        "".join(random.Random(2).choices("AEIMQUYcgkosw048", k=MAX_TEXT)),
        "".join(random.Random(3).choices([*BASE64URL, "=41", "%42", "&#67;", "=\n", " "], k=MAX_TEXT))[:MAX_TEXT],
        quoted("A" * 340),
        quote(quoted("AEIMQ" * 20)),
        "%25" * 341,
        "&#" + "9" * 1022,
        "&am" * 341,
        "=" * MAX_TEXT,
        "\u2014" * MAX_TEXT,
        TOKEN * 23,
    ],
    ids=range(12),
)
def test_the_work_of_a_hostile_text_is_bounded(text: str) -> None:
    counting = CountingKeyring()
    damaged = DamagedText(text)
    damaged.find(counting, Purpose.UNSUBSCRIBE)
    assert counting.tested <= MAX_CANDIDATES
    assert len(damaged.readings) <= 9
    assert all(len(reading) <= 2 * MAX_TEXT for reading in damaged.readings)


def test_with_too_many_candidates_nothing_is_found() -> None:
    """A part of them could hide the token of a second send."""
    crowd = "".join(random.Random(2).choices("AEIMQUYcgkosw048", k=2 * MAX_CANDIDATES))
    assert ids(f"{TOKEN} {crowd}") == []
