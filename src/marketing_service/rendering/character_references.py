"""Character references of HTML, such as `&amp;` and `&#65;`."""

from __future__ import annotations

import html
import re
import sys

# The longest number of a character has seven digits (U+10FFFF is 1114111). Python refuses to read a number of more
# than 4,300 digits, and needs time that is quadratic in its length.
_MAX_DIGITS = 7
_LONG_NUMBER = re.compile(
    rf"&#(?:[xX](?P<hex>[0-9A-Fa-f]{{{_MAX_DIGITS + 1},}}+)|(?P<decimal>[0-9]{{{_MAX_DIGITS + 1},}}+))"
)
_BEYOND_UNICODE = "&#1114112"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A number between 0x80 and 0x9F is a character of Windows-1252, except the five numbers that it does not use.
_WINDOWS = {code: one for code in range(0x80, 0xA0) if (one := bytes([code]).decode("cp1252", "ignore"))}
_SURROGATES = range(0xD800, 0xE000)


def unescape(text: str) -> str:
    """The text with its character references replaced (WHATWG HTML §13.2.5.72-80), in linear time.

    A number that is no character becomes U+FFFD, however long it is.
    """
    return html.unescape(_LONG_NUMBER.sub(_shortened, text))


def _shortened(number: re.Match[str]) -> str:
    """The start of the same reference without leading zeros, or the one of a number that is no character."""
    digits = (number["hex"] or number["decimal"]).lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        return _BEYOND_UNICODE
    return f"&#{'x' if number['hex'] else ''}{digits}"


def character(number: str) -> str:
    """The character of a numeric reference in an attribute, such as `65` or `x41` (WHATWG HTML §13.2.5.80).

    `unescape` omits control characters, because a text cannot show them. In an address they count, so they stay here.
    """
    digits = number.lstrip("xX").lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        return _REPLACEMENT
    code = int(digits, 16 if number[0] in "xX" else 10)
    if code == 0 or code > sys.maxunicode or code in _SURROGATES:
        return _REPLACEMENT
    return _WINDOWS.get(code, chr(code))
