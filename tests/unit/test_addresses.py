"""Mailbox keys: all spellings of one mailbox have the same key, and no other mailbox has it."""

from __future__ import annotations

import re
import unicodedata

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marketing_service.addresses import (
    MAX_ADDRESS,
    is_deliverable,
    is_findable,
    mailbox_key,
    read_address,
    read_key_prefix,
    receiving_domain,
    search_forms,
)
from marketing_service.rendering import ascii_address
from marketing_service.storable_text import is_storable
from tests.support.project import ROOT
from tests.support.spellings import DOMAINS, spellings_of

MAILBOXES = st.tuples(st.sampled_from(("info", "jane.doe+x", "o'hara")), st.sampled_from(DOMAINS))
SPELLINGS = MAILBOXES.flatmap(lambda mailbox: spellings_of(*mailbox).map(lambda spelling: (mailbox, spelling)))
BUECHER = "info@xn--bcher-kva.example"


def canonical(mailbox: tuple[str, str]) -> str:
    local_part, domain = mailbox
    return f"{local_part}@{idna.encode(domain).decode()}"


@pytest.mark.parametrize(
    ("email", "key"),
    [
        ("Info@Example.COM", "info@example.com"),
        (" info@example.com\n", "info@example.com"),
        ("info@bücher.example", BUECHER),
        ("INFO@BÜCHER.EXAMPLE", BUECHER),
        ("info@XN--BCHER-KVA.example", BUECHER),
        ("info@bu\u0308cher.example", BUECHER),
        ("info@BU\u0308CHER.example", BUECHER),
        ("info@bücher\u3002example", BUECHER),
        ("info@\uff42ücher\uff0eexample", BUECHER),
        ("info@\uff58\uff4e--bcher-kva.example", BUECHER),
        ("info@bü\u00adcher.example", BUECHER),
        ("info@bücher.example.", BUECHER),
        ("info@bücher.example\u3002 ", BUECHER),
        ("info@xn--bcher-kva.example.", BUECHER),
        ("info@xn--bcher-kva.bücher.example", "info@xn--bcher-kva.xn--bcher-kva.example"),
        # IDNA 2008: ß and the final sigma are letters of their own, and the upper-case sigma is no final one.
        ("info@straße.example", "info@xn--strae-oqa.example"),
        ("info@STRAẞE.example", "info@xn--strae-oqa.example"),
        ("info@STRASSE.example", "info@strasse.example"),
        ("info@λόγος-1.example", "info@xn---1-h9b5avs1e.example"),
        ("info@ΛΌΓΟΣ-1.example", "info@xn---1-h9b5avy4d.example"),
        # Not an A-label: it stays as it is written, next to another label, too.
        ("info@xn--a.example", "info@xn--a.example"),
        ("info@xn--a.bücher.example", "info@xn--a.xn--bcher-kva.example"),
        # No A-label: an emoji, an underscore, a hyphen at the end, 64 characters.
        ("info@💩.Bücher.example", "info@💩.xn--bcher-kva.example"),
        ("Info@bü_cher.EXAMPLE", "info@bü_cher.example"),
        ("info@bücher-.example", "info@bücher-.example"),
        (f"info@{'ü' * 64}.example", f"info@{'ü' * 64}.example"),
        # No address at all.
        ("", ""),
        ("Bücher", "bücher"),
        ("@", "@"),
        ("Ö@Bücher.example", "ö@xn--bcher-kva.example"),
        ("J\u030c@example.com", "\u01f0@example.com"),
        ("a\x00\ud800@b.example", "a\ufffd\ufffd@b.example"),
    ],
)
def test_the_key_of_an_address(email: str, key: str) -> None:
    assert mailbox_key(email) == key


@given(SPELLINGS)
def test_every_spelling_of_a_mailbox_has_its_key_and_is_deliverable(found: tuple[tuple[str, str], str]) -> None:
    mailbox, spelling = found
    assert read_address(spelling)[:2] == (canonical(mailbox), True)
    # What the relay is given names the same mailbox.
    assert ascii_address(spelling.strip()).lower() == canonical(mailbox)
    assert receiving_domain(spelling) == idna.encode(mailbox[1]).decode()


@given(MAILBOXES, MAILBOXES)
def test_two_mailboxes_have_two_keys(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (mailbox_key("@".join(one)) == mailbox_key("@".join(other))) == (one == other)


@given(
    st.text(
        st.sampled_from(
            "aZ1@.-_ \tüÜßẞςΣİ\u0131K\u0308\u030c\u3002\uff0e\uff61\uff20\uff21日💩\u00ad\u200d\u2024\x00\ud800"
        )
    )
    | st.text()
)
@example("x@-\u212a.com.")
@example("a@b .")
@example("a@b\u2024")
@example("a@b.com\u3000\uff61")
def test_a_key_is_its_own_key_and_can_be_stored(text: str) -> None:
    key = mailbox_key(text)
    assert mailbox_key(key) == key
    assert is_storable(key)
    assert unicodedata.is_normalized("NFC", key)
    assert key == mailbox_key(f" {text}\u00a0")


def test_a_text_that_is_too_long_for_an_address_has_a_key_too() -> None:
    for text in ("Ü" * 100_000 + "@b.example", "a@" + "Ü." * 50_000, "\u0308\u0323" * 50_000, "a@" + "xn--" * 50_000):
        key = mailbox_key(text)
        assert mailbox_key(key) == key
        assert not is_deliverable(text)
        assert search_forms(key)
        read_key_prefix(text)


@pytest.mark.parametrize(
    "email",
    [
        "info@example.com.",
        "info@bücher.example\u3002",
        "info@💩.example",
        "info@bü_cher.example",
        "info@-bücher.example",
        "info@b_cher.example",
        "info@bücher..example",
        "info@bücher",
        "ö@example.com",
        "\u212a@example.com",
        "info@example.c",
        "info@example.1com",
        '"info"@example.com',
        "info@[127.0.0.1]",
        "a" * 65 + "@example.com",
        "info@" + "a" * 64 + ".com",
        "info@" + "ü" * 60 + ".com",
        "i" * 60 + "@" + ".".join(["bücher" * 4] * 6) + ".example",
        "info\uff20example.com",
        "info@exa mple.com",
        "",
        "@",
    ],
)
def test_a_malformed_address_stays_malformed(email: str) -> None:
    assert not is_deliverable(email)
    assert not read_address(email).is_deliverable


def test_an_address_of_the_largest_length_is_deliverable() -> None:
    email = "i" * 64 + "@" + "d" * 60 + "." + "d" * 60 + "." + "d" * 60 + ".example"
    assert is_deliverable(email[: 64 - (len(email) - MAX_ADDRESS)] + email[64:])
    assert not is_deliverable("i" + email[: 64 - (len(email) - MAX_ADDRESS)] + email[64:])


def test_a_search_asks_for_every_spelling_that_systems_usually_store() -> None:
    assert search_forms(mailbox_key("Info@example.com")) == ("info@example.com",)
    assert search_forms(mailbox_key("info@BÜCHER.example")) == (
        BUECHER,
        "info@bücher.example",
        "info@bu\u0308cher.example",
    )
    assert search_forms(mailbox_key("info@日本語.example")) == ("info@xn--wgv71a119e.example", "info@日本語.example")
    # The A-label of an emoji is not valid, so it has no U-label.
    assert search_forms(mailbox_key("info@xn--ls8h.example")) == ("info@xn--ls8h.example",)


@given(SPELLINGS)
def test_a_spelling_is_findable_only_if_the_search_asks_for_it(found: tuple[tuple[str, str], str]) -> None:
    _, spelling = found
    key = mailbox_key(spelling)
    ascii_letters = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}
    assert is_findable(spelling, key) == (spelling.translate(ascii_letters) in search_forms(key))
    assert all(
        mailbox_key(form) == key and is_findable(form.upper() if form.isascii() else form, key)
        for form in search_forms(key)
    )


@given(SPELLINGS, st.integers(1, 40))
def test_a_prefix_finds_every_mailbox_with_a_spelling_that_starts_with_it(
    found: tuple[tuple[str, str], str], length: int
) -> None:
    mailbox, spelling = found
    key = mailbox_key(spelling)
    # Of a spelling in NFD or with other dots only the whole is searched: half of a letter is no start of the others.
    for prefix in ("@".join(mailbox)[:length], canonical(mailbox)[:length], spelling):
        search = read_key_prefix(prefix)
        assert key.startswith(search.plain) or search.includes(key), (prefix, search)


@pytest.mark.parametrize(
    "prefix", ["info@bücherx", "info@bx", "info@bü.example", "inf@bü", "info@bücher.x", "x", "info@ü"]
)
def test_a_prefix_finds_no_other_mailbox(prefix: str) -> None:
    key = mailbox_key("info@bücher.example")
    search = read_key_prefix(prefix)
    assert not key.startswith(search.plain)
    assert not search.includes(key)


def test_only_one_function_makes_keys() -> None:
    """A raw text with the type of a key would be compared with keys, and would miss the other spellings."""
    made = {
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"MailboxKey\(|cast\(\W*MailboxKey", path.read_text(encoding="utf-8"))
    }
    assert made == {"addresses.py"}
