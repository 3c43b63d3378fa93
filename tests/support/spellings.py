"""Spellings of one mailbox, as people, imports and other systems write them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import idna
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_DOTS = ".\u3002\uff0e\uff61"
_FULL_WIDTH = 0xFEE0
"""The distance from an ASCII character to its full-width form."""

DOMAINS = tuple(
    unicodedata.normalize("NFC", domain)
    for domain in (
        "bücher.example",
        "straße.example",
        "fußball.münchen.example",
        "λόγος.example",
        "日本語.example",
        "हिन्दी.भारत",
        "ايران.example",
        "한국.example",
        "école-à-paris.example",
        "plain.example",
    )
)
"""Domains in U-labels, in lower case and in NFC."""


def _full_width(text: str) -> str:
    return "".join(
        chr(ord(letter) + _FULL_WIDTH) if letter.isalnum() and letter.isascii() else letter for letter in text
    )


def _upper(text: str) -> str:
    """In upper case, if that is reversible for IDNA: not for ß (SS) and for the final sigma."""
    return "".join(letter if letter in "ßς" or len(letter.upper()) != 1 else letter.upper() for letter in text)


_IN_OTHER_LETTERS: tuple[Callable[[str], str], ...] = (
    lambda label: label,
    lambda label: idna.alabel(label).decode(),
    lambda label: idna.alabel(label).decode().upper(),
    lambda label: unicodedata.normalize("NFD", label),
    lambda label: unicodedata.normalize("NFD", _upper(label)),
    _upper,
    _full_width,
    # Copied from a text with hyphenation: a soft hyphen has no meaning in a domain.
    lambda label: label[:1] + "\u00ad" + label[1:],
)


def spelling(random: Random, local_part: str, domain: str) -> str:
    """A spelling of the mailbox that a relay can be given: each label in its own way, and any dot between them."""
    labels = [random.choice(_IN_OTHER_LETTERS)(label) for label in domain.split(".")]
    written = labels[0] + "".join(random.choice(_DOTS) + label for label in labels[1:])
    cased = random.choice((local_part, local_part.upper(), local_part.title()))
    before, after = random.choice((("", ""), (" ", ""), ("\t", "\u00a0")))
    return f"{before}{cased}@{written}{after}"


def spellings_of(local_part: str, domain: str) -> st.SearchStrategy[str]:
    return st.randoms(use_true_random=False).map(lambda random: spelling(random, local_part, domain))
