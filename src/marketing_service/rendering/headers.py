"""Header fields, built so that a value cannot end its line and cannot be read as anything but text."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import idna

from marketing_service.rendering.characters import character_problem
from marketing_service.rendering.template import NotRenderable, clean

_LINE = 76
"""RFC 2047 §2: the maximum length of a line that contains an encoded word."""
_WORD_BYTES = 39
"""Bytes of UTF-8 in one encoded word: with these it fits after the longest field name used here."""
_MAX_QUOTED = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_WORDS = re.compile(r"[!-~]++(?: [!-~]++)*+")
_ATOMS = re.compile(r"[A-Za-z0-9]++(?: [A-Za-z0-9]++)*+")

# RFC 5322 §3.2.3: a dot-atom, which is also RFC 5321's Dot-string; with the lengths of §4.5.3.1.
_LOCAL = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++)*+")
# A label does not begin or end with a hyphen. Each part starts with another character, so nothing is tried twice.
_LABEL = r"(?=.{1,63}(?:\.|\Z))[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+"
_MAX_LABEL = 63
_MAX_DOMAIN = 253
_MAX_WRITTEN_DOMAIN = 3 * _MAX_DOMAIN
"""Characters of a domain before it is mapped: in NFD, a syllable of Hangul is three characters (UAX #15)."""
_MALFORMED_DOMAIN = "No mail can be sent to or from this address: its domain is malformed."
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*+{_LABEL}")


def header_text_problem(value: str) -> str | None:
    """Why a text from a user is not allowed in a header field, as one sentence; None if it is allowed."""
    if (problem := character_problem(value)) is not None:
        return problem
    if "=?" in value:
        return 'It contains "=?", which mail programs read as the start of encoded text; leave it out.'
    return None


def text_field(name: str, value: str) -> bytes:
    """A field such as `Subject: …` with CRLF, folded. Plain ASCII is written as it is, other text in encoded words."""
    value = clean(value)
    if len(name) + 2 + len(value) <= _LINE and value.isascii() and "=?" not in value:
        return f"{name}: {value}\r\n".encode("ascii")
    if (folded := _folded(f"{name}: {value}")) is not None:
        return f"{folded}\r\n".encode("ascii")
    return f"{name}: {_encoded(value)}\r\n".encode("ascii")


def mailbox_field(name: str, display_name: str | None, address: str) -> bytes:
    """A field such as `From: "…" <…>` with CRLF. `address` must be a result of `ascii_address`."""
    phrase = _phrase(clean(display_name))
    if not phrase:
        return f"{name}: {address}\r\n".encode("ascii")
    fold = "" if len(name) + len(phrase) + len(address) + 5 <= _LINE else "\r\n"
    return f"{name}: {phrase}{fold} <{address}>\r\n".encode("ascii")


def date_field(date: datetime) -> bytes:
    """The `Date` field in UTC (RFC 5322 §3.3) with CRLF."""
    return _date_field((date - _EPOCH) // _SECOND)


@lru_cache(maxsize=16)
def _date_field(second: int) -> bytes:
    utc = _EPOCH + second * _SECOND
    return (
        f"Date: {_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc.year:04} "
        f"{utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000\r\n"
    ).encode("ascii")


@lru_cache(maxsize=64)
def ascii_address(address: str) -> str:
    """The address in ASCII: its domain in A-labels (RFC 5890), the local part unchanged.

    Raises NotRenderable if the local part is not a plain dot-atom. A quoted local part is nearly always a mistake, and
    an international one needs SMTPUTF8 (RFC 6531) at every relay on the route.
    """
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local):
        raise NotRenderable(f"No mail can be sent to or from this address: {_problem(local, at)}")
    return f"{local}@{ascii_domain(domain)}"


def ascii_domain(domain: str) -> str:
    """The domain in A-labels. Raises NotRenderable if it is malformed.

    All spellings of one domain give the same A-labels, apart from the case of a domain that is ASCII already.
    """
    if not domain.isascii():
        domain = _with_a_labels(domain)
    if len(domain) > _MAX_DOMAIN or not _DOMAIN.fullmatch(domain):
        raise NotRenderable(_MALFORMED_DOMAIN)
    return domain


@lru_cache(maxsize=1024)
def _with_a_labels(domain: str) -> str:
    """Each label that is not ASCII as an A-label, after the mapping of UTS #46 §4: lower case, NFC, plain characters
    for full-width ones, and a full stop for each of the other dots.

    A label that is ASCII already is not validated as IDNA: in a domain of only such labels it is not either. So two
    spellings of one domain are both accepted, or both refused.
    """
    # The time of the mapping and of NFC grows faster than the length of the domain.
    if len(domain) > _MAX_WRITTEN_DOMAIN:
        raise NotRenderable(_MALFORMED_DOMAIN)
    try:
        mapped = idna.uts46_remap(domain, std3_rules=False)
    except idna.IDNAError as error:
        raise NotRenderable(_MALFORMED_DOMAIN) from error
    return ".".join(label if label.isascii() else a_label(label) for label in mapped.split("."))


def a_label(label: str) -> str:
    """The A-label (RFC 5890 §2.3.2.1) of a U-label. Raises NotRenderable if it has none."""
    # The bound is first, because the time of the encoder grows faster than the length. An A-label is the longer one.
    if len(label) > _MAX_LABEL:
        raise NotRenderable(_MALFORMED_DOMAIN)
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError as error:
        raise NotRenderable(_MALFORMED_DOMAIN) from error


def _problem(local: str, at: str) -> str:
    if not at or not local:
        return 'it is not of the form "name@domain".'
    if not local.isascii():
        return 'the part before the "@" is not plain ASCII.'
    return 'the part before the "@" is malformed.'


def _phrase(text: str) -> str:
    """The display name as atoms, as a quoted string, or in encoded words (RFC 5322 §3.2.5)."""
    if not text or _ATOMS.fullmatch(text):
        return text if len(text) <= _MAX_QUOTED else _encoded(text)
    if text.isascii() and "=?" not in text and len(text) <= _MAX_QUOTED:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encoded(text)


def _folded(line: str) -> str | None:
    """The line folded at spaces; None if it is not plain ASCII or has a word that is too long for a line.

    There is no fold directly after the field name, because some mail programs then show a leading space.
    """
    if not _WORDS.fullmatch(line) or "=?" in line:
        return None
    lines = [""]
    for word in line.split(" "):
        if len(word) >= _LINE:
            return None
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _LINE:
            if " " not in lines[0]:
                return None
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] or len(lines) > 1 else word
    return "\r\n".join(lines)


def _encoded(text: str) -> str:
    """The text as encoded words in base64 (RFC 2047 §4.1), split between characters, one word per line."""
    return "\r\n ".join(f"=?utf-8?b?{b64encode(chunk).decode('ascii')}?=" for chunk in _chunks(text))


def _chunks(text: str) -> list[bytes]:
    encoded = text.encode()
    if len(encoded) <= _WORD_BYTES:
        return [encoded]
    chunks = [b""]
    for character in map(str.encode, text):
        if len(chunks[-1]) + len(character) > _WORD_BYTES:
            chunks.append(b"")
        chunks[-1] += character
    return chunks
