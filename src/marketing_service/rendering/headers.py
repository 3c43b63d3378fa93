"""Header fields, built so that nothing in a value can end a line or be read as anything else than text."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import idna

from marketing_service.rendering.template import NotRenderable, clean

_LINE = 76
"""RFC 2047 §2: a line that holds an encoded word is at most 76 characters long."""
_WORD_BYTES = 39
"""So many bytes of UTF-8 make an encoded word that fits behind the longest field name used here."""
_MAX_QUOTED = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_WORDS = re.compile(r"[!-~]+(?: [!-~]+)*")
_ATOMS = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+)*")

# RFC 5322 §3.2.3: a dot-atom, which is also RFC 5321's Dot-string; with the lengths of §4.5.3.1.
_LOCAL = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?)+(?<!\.)")


def header_text_problem(value: str) -> str | None:
    """Why a text typed by a user cannot go into a header field, as one sentence; None if it can."""
    if found := _CONTROL.search(value):
        return f"It contains a line break or control character (U+{ord(found[0]):04X}) at position {found.start() + 1}."
    if "=?" in value:
        return 'It contains "=?", which mail programs read as the start of encoded text; leave it out.'
    return None


def text_field(name: str, value: str) -> bytes:
    """`Subject: …`, folded, ended with CRLF: as it is where it is plain ASCII, else in encoded words."""
    value = clean(value)
    if len(name) + 2 + len(value) <= _LINE and value.isascii() and "=?" not in value:
        return f"{name}: {value}\r\n".encode("ascii")
    if (folded := _folded(f"{name}: {value}")) is not None:
        return f"{folded}\r\n".encode("ascii")
    return f"{name}: {_encoded(value)}\r\n".encode("ascii")


def mailbox_field(name: str, display_name: str | None, address: str) -> bytes:
    """`From: "…" <…>`, ended with CRLF; `address` must come out of `ascii_address`."""
    phrase = _phrase(clean(display_name))
    if not phrase:
        return f"{name}: {address}\r\n".encode("ascii")
    fold = "" if len(name) + len(phrase) + len(address) + 5 <= _LINE else "\r\n"
    return f"{name}: {phrase}{fold} <{address}>\r\n".encode("ascii")


def date_field(date: datetime) -> bytes:
    """`Date: …` in UTC (RFC 5322 §3.3), ended with CRLF."""
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
    """The address as it travels: its domain in A-labels (RFC 5890), the rest unchanged.

    Raises NotRenderable where the local part is not a plain dot-atom: quoted ones cannot be told from mistakes, and
    international ones need SMTPUTF8 at every relay on the way (RFC 6531).
    """
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL.fullmatch(local):
        raise NotRenderable(f"No mail can be sent to or from this address: {_why(local, at)}")
    return f"{local}@{ascii_domain(domain)}"


def ascii_domain(domain: str) -> str:
    """The domain in A-labels. Raises NotRenderable where it is none."""
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise NotRenderable("No mail can be sent to or from this address: its domain is malformed.") from error
    if not _DOMAIN.fullmatch(domain):
        raise NotRenderable("No mail can be sent to or from this address: its domain is malformed.")
    return domain


def _why(local: str, at: str) -> str:
    if not at or not local:
        return 'it is not of the form "name@domain".'
    if not local.isascii():
        return 'the part before the "@" is not plain ASCII.'
    return 'the part before the "@" is malformed.'


def _phrase(text: str) -> str:
    """RFC 5322 §3.2.5: a display name as atoms, a quoted string, or encoded words."""
    if not text or _ATOMS.fullmatch(text):
        return text if len(text) <= _MAX_QUOTED else _encoded(text)
    if text.isascii() and "=?" not in text and len(text) <= _MAX_QUOTED:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encoded(text)


def _folded(line: str) -> str | None:
    """The line broken at spaces; None where it is not plain ASCII or has a word that fits no line.

    It is not broken right behind the field's name: some readers take the space that follows for part of the text.
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
    """RFC 2047 §4.1: encoded words in base64, split between characters, one a line."""
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
