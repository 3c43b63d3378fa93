"""Email addresses: the key that identifies a mailbox in all its spellings, and which addresses can receive mail."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, NewType

import idna

from marketing_service.rendering import NotRenderable, a_label, ascii_domain
from marketing_service.storable_text import storable

MailboxKey = NewType("MailboxKey", str)
"""The canonical form of an email address. All spellings of one mailbox have the same key; only `mailbox_key` makes it.

It is in lower case and in NFC, its domain is in A-labels (RFC 5890 §2.3.2.1), and PostgreSQL can store it.
"""

MAX_ADDRESS = 254
"""RFC 5321 §4.5.3.1.3: a path of 256 octets, without its angle brackets."""

# RFC 5321 §4.1.2: a dot-string, and a domain of at least two labels. Quoted local parts and address literals are legal,
# but in a CRM they are always typing errors. The lengths are those of §4.5.3.1. Nothing is tried twice.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL = r"(?=[^.]{1,63}(?:\.|\Z))[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+"
_ADDRESS = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*+@(?:{_LABEL}\.)++(?=[A-Za-z][A-Za-z0-9-]){_LABEL}")

_MAX_READ = 1024
"""Characters. A longer text is no address in any spelling. It is not normalised, because the time of NFC and NFD can
grow faster than the length."""
_DOTS = ".\u3002\uff0e\uff61"
"""The characters that separate the labels of a domain (RFC 3490 §3.1, UTS #46 §4)."""
_DOTS_AND_SPACES = _DOTS + "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_A_LABEL = "xn--"
_MAX_LABEL = 63


class ReadAddress(NamedTuple):
    """What an address says about its mailbox, computed once per contact."""

    key: MailboxKey
    is_deliverable: bool
    is_findable: bool


def read_address(email: str) -> ReadAddress:
    """The mailbox of an address as a CRM has it. See `mailbox_key`, `is_deliverable` and `is_findable`."""
    key = mailbox_key(email)
    return ReadAddress(key, is_deliverable(email.strip()), is_findable(email, key))


def mailbox_key(email: str) -> MailboxKey:
    """The key of the mailbox that this address names. Never raises: a malformed address has a key, too.

    Spaces around the address and a dot at the end of the domain do not count. The domain is mapped and encoded as in
    `ascii_domain`. A label that has no A-label stays as it is, in NFC and in lower case.
    """
    email = _trimmed(email)
    if email.isascii() or len(email) > _MAX_READ:
        return MailboxKey(storable(email.lower()))
    local_part, at, domain = email.rpartition("@")
    # The domain is not put in lower case first: str.lower() and IDNA differ, for example in a final sigma.
    key = _composed(local_part) + at + (_canonical_domain(domain) if at else _composed(domain))
    return MailboxKey(storable(_trimmed(key)))


def receiving_domain(email: str) -> str:
    """The domain of an address, as in its mailbox key."""
    return mailbox_key(email).rpartition("@")[2]


def is_deliverable(email: str) -> bool:
    """Whether a relay can accept this address. It does not tell whether the mailbox exists.

    The domain is judged by its A-labels, so all spellings of a domain are judged alike.
    """
    if not email.isascii():
        local_part, _, domain = email.rpartition("@")
        try:
            email = f"{local_part}@{ascii_domain(domain)}"
        except NotRenderable:
            return False
    return len(email) <= MAX_ADDRESS and _ADDRESS.fullmatch(email) is not None


def search_forms(key: MailboxKey) -> tuple[str, ...]:
    """The spellings with which a system that compares text is asked for the mailbox: with A-labels, then with U-labels
    in NFC and in NFD. At most three; one for a domain that is plain ASCII, and for a text that is no address."""
    if len(key) > _MAX_READ:
        return (key,)
    readable = _readable(key)
    return tuple(dict.fromkeys((key, readable, unicodedata.normalize("NFD", readable))))


def is_findable(email: str, key: MailboxKey) -> bool:
    """Whether a search for `search_forms(key)` certainly finds this spelling, if the search ignores only the case of
    ASCII letters. Not findable are, for example, full-width letters and an upper-case U-label."""
    if email.isascii():
        return email.lower() == key
    # bytes.lower() changes ASCII letters only.
    return email.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass") in search_forms(key)


MAX_ENCODED = 1000
"""How many keys that start with `KeyPrefix.encoded` a search looks at: different domains with one local part."""


@dataclass(frozen=True, slots=True)
class KeyPrefix:
    """A search for the mailboxes of which a spelling starts with a text: see `read_key_prefix`.

    A key that starts with `plain` is found, and a key that starts with `encoded` and for which `includes` is true.
    """

    plain: str
    encoded: str | None = None
    readable: str = ""

    def includes(self, key: MailboxKey) -> bool:
        """Whether the key starts with `encoded`, not with `plain`, and starts with the text when it is in U-labels."""
        return (
            self.encoded is not None
            and key.startswith(self.encoded)
            and not key.startswith(self.plain)
            and _readable(key).startswith(self.readable)
        )


def read_key_prefix(text: str) -> KeyPrefix:
    """The search for the start of an address, in any spelling. The last label may be incomplete.

    Punycode begins with the ASCII characters of a label, in their order (RFC 3492 §3.1). So the A-label of each U-label
    that begins with "bü" begins with "xn--b".
    """
    local_part, at, domain = text.strip()[:_MAX_READ].rpartition("@")
    if not at:
        return KeyPrefix(storable(_composed(domain)))
    *complete, last = _mapped(domain).split(".")
    start = storable(f"{_composed(local_part)}@" + "".join(f"{_encoded(label)}." for label in complete))
    if not last or last.startswith(_A_LABEL):
        return KeyPrefix(start + storable(last))
    basic = "".join(character for character in last if character.isascii())
    return KeyPrefix(start + storable(last), start + _A_LABEL + storable(basic), _readable(start) + last)


def _trimmed(email: str) -> str:
    email = email.strip()
    return email.rstrip(_DOTS_AND_SPACES) if email[-1:] in _DOTS else email


def _composed(text: str) -> str:
    # A letter can have a composed form in one case only, so NFC is applied before and after.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


@lru_cache(maxsize=1024)
def _canonical_domain(domain: str) -> str:
    return ".".join(map(_encoded, _mapped(domain).rstrip(_DOTS_AND_SPACES).split(".")))


def _mapped(domain: str) -> str:
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError:
        return _composed(domain)
    # A full-width "@" would start another domain.
    return _composed(domain) if "@" in mapped else mapped


def _encoded(label: str) -> str:
    """The A-label of a label; the label itself if it is ASCII or has no A-label."""
    try:
        return label if label.isascii() else a_label(label)
    except NotRenderable:
        return label


def _readable(key: str) -> str:
    """The key with U-labels in place of its A-labels. An A-label that is not valid stays."""
    local_part, at, domain = key.rpartition("@")
    if _A_LABEL not in domain or len(domain) > _MAX_READ:
        return key
    return local_part + at + _with_u_labels(domain)


@lru_cache(maxsize=1024)
def _with_u_labels(domain: str) -> str:
    return ".".join(map(_decoded, domain.split(".")))


def _decoded(label: str) -> str:
    # The bound is first, because the time of the decoder grows faster than the length of the label.
    if not label.startswith(_A_LABEL) or len(label) > _MAX_LABEL:
        return label
    try:
        return idna.ulabel(label)
    except idna.IDNAError:
        return label
