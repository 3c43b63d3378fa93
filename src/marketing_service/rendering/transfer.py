"""Content transfer encodings (RFC 2045 §6) for pieces of text: encoded pieces can be joined."""

from __future__ import annotations

import binascii
import re

MAX_LINE = 998
"""RFC 5322 §2.1.1: maximum number of octets in a line, without its CRLF."""

_PLAIN = re.compile("[ -<>-~]*")  # printable ASCII except "="
_ROOM = 75  # characters in a line, without a soft line break
_OVERLONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)


def quoted_printable(text: str) -> bytes:
    """The text in quoted-printable (RFC 2045 §6.7), with lines of at most 76 octets.

    The result ends with a soft line break or with a line end, so that any other piece can follow. `text` must contain
    no control characters except line ends and tabs.
    """
    if not text:
        return b""
    text = _with_lf(text)
    if _PLAIN.fullmatch(text):
        encoded = text.encode("ascii")
        lines = [encoded] if len(encoded) <= _ROOM else [encoded[n : n + _ROOM] for n in range(0, len(encoded), _ROOM)]
        return b"=\r\n".join(lines) + b"=\r\n"
    # The added character keeps binascii from treating the last character as the end of a line.
    encoded = binascii.b2a_qp(text.encode() + b"x", quotetabs=False, istext=True, header=False)[:-1]
    # binascii encodes white space at the end of a line after it has measured the line, so the line can be too long.
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _OVERLONG.sub(rb"\1=\n\2", encoded)
    if not encoded.endswith(b"\n"):
        encoded += b"=\n"
    return encoded.replace(b"\n", b"\r\n")


def eight_bit_text(text: str) -> bytes:
    """The text as UTF-8 with CRLF line ends, for a relay that accepts 8-bit content (RFC 6152)."""
    return _with_lf(text).replace("\n", "\r\n").encode()


def _with_lf(text: str) -> str:
    """The text with LF for every line end, including a bare CR.

    Some relays treat a bare CR as a line end (RFC 5321 §2.3.8 forbids it). The text after it could then be read as the
    final dot and a new command.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def longest_line(body: bytes) -> int:
    """Number of octets in the longest line, without its CRLF."""
    return max(map(len, body.split(b"\r\n")))
