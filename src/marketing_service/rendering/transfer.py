"""Content transfer encodings (RFC 2045 §6), by pieces: what is encoded once can stand beside what is encoded later."""

from __future__ import annotations

import binascii
import re

MAX_LINE = 998
"""RFC 5322 §2.1.1: octets in a line, without its CRLF."""

_PLAIN = re.compile("[ -<>-~]*")  # printable ASCII but "="
_ROOM = 75  # characters in a line, beside a soft break
_OVERLONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)


def quoted(text: str) -> bytes:
    """The text in quoted-printable (RFC 2045 §6.7), ended so that anything may follow: with a soft line break, or with
    its own line end. Lines are at most 76 octets; but for its line ends, `text` has no control character but tab.
    """
    if not text:
        return b""
    text = _with_lf(text)
    if _PLAIN.fullmatch(text):
        encoded = text.encode("ascii")
        lines = [encoded] if len(encoded) <= _ROOM else [encoded[n : n + _ROOM] for n in range(0, len(encoded), _ROOM)]
        return b"=\r\n".join(lines) + b"=\r\n"
    # A further character behind the last keeps it from being treated as the end of a line.
    encoded = binascii.b2a_qp(text.encode() + b"x", quotetabs=False, istext=True, header=False)[:-1]
    # White space at the end of a line is encoded by binascii after it has measured the line.
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _OVERLONG.sub(rb"\1=\n\2", encoded)
    if not encoded.endswith(b"\n"):
        encoded += b"=\n"
    return encoded.replace(b"\n", b"\r\n")


def plain(text: str) -> bytes:
    """The text as UTF-8 with CRLF line ends, for a relay that takes eight bits (RFC 6152)."""
    return _with_lf(text).replace("\n", "\r\n").encode()


def _with_lf(text: str) -> str:
    """The text with LF for every line end. A CR that stayed would be a bare one: some relays take that for a line's
    end, and what a template's author typed after it for a final dot and the next command (RFC 5321 §2.3.8)."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def longest_line(body: bytes) -> int:
    """Octets in the longest line, without its CRLF."""
    return max(map(len, body.split(b"\r\n")))
