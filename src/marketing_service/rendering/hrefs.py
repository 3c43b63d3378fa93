"""The one reader of the addresses in an author's HTML: the text part, the tracked links and the check use it.

It reads an address as a browser does: character references in an attribute (WHATWG HTML §13.2.5.73-80), and then the
start of the URL parser (WHATWG URL §4.4). `tests/unit/rendering/hrefs.toml` has what a browser makes of each odd form.
"""

from __future__ import annotations

import re
import unicodedata
from html.entities import html5
from urllib.parse import quote

from marketing_service.rendering.character_references import character
from marketing_service.rendering.masking import MARK, OUTPUT, TAG

AROUND = "".join(map(chr, range(0x21)))
"""The characters that a browser removes before and after an address: C0 controls and the space."""

_INSIDE = re.compile(r"[\t\n\r]")  # a browser removes these everywhere
_REFERENCE = re.compile(r"&(?:#([0-9]++|[xX][0-9A-Fa-f]++);?|([A-Za-z][A-Za-z0-9]*+;?)(=?))")
# For http and https a browser reads any number of slashes, in both directions, as two.
_WEB = re.compile(r"(https?):[/\\]*+", re.IGNORECASE)
_PATH_END = re.compile(r"[?#]")
# RFC 3986 §2: everything else in ASCII is not allowed in an address. A "%" stays: it starts an encoded character.
_NOT_ALLOWED = re.compile(f'[\x00-\x20"<>\\\\^`{{|}}\x7f]|(?!{OUTPUT}|{TAG}|{MARK})[^\x00-\x7f]')
_TELEPHONE = re.compile("tel:", re.IGNORECASE)  # its blanks are for people: a browser keeps them
_NO_TARGET = re.compile("(?:data|javascript|vbscript):", re.IGNORECASE)


def parse_href(value: str) -> str:
    """The address that a browser reads from the value of an `href`, in linear time."""
    return _INSIDE.sub("", _REFERENCE.sub(_referenced, value).strip(AROUND))


def _referenced(reference: re.Match[str]) -> str:
    number, name, equals = reference.groups()
    if number is not None:
        return character(number)
    # In an attribute, a name without ";" before "=", a letter or a digit is no reference: `?a=1&copy=2`.
    if name not in html5 or (equals and not name.endswith(";")):
        return reference[0]
    return html5[name] + equals


def forward_slashes(path: str) -> str:
    """The rest of a web address, from its path on. A backslash in its path becomes a slash, as in a browser."""
    if "\\" not in path:
        return path
    found = _PATH_END.search(path)
    end = found.start() if found else len(path)
    return path[:end].replace("\\", "/") + path[end:]


def plain_address(address: str) -> str:
    """The address (a result of `parse_href`) as it can stand in a plain text: where a mail program recognises all of
    it, and a browser then follows the same address.

    What RFC 3986 does not allow is percent-encoded, except letters and digits of any script, which people read. Masked
    Liquid stays. Empty for a script or data, which a person cannot follow.
    """
    if _NO_TARGET.match(address):
        return ""
    if _TELEPHONE.match(address):
        return " ".join(address.split())
    if start := _WEB.match(address):
        address = f"{start[1]}://{forward_slashes(address[start.end() :])}"
    return encoded(address)


def encoded(text: str) -> str:
    """The text in which each character that cannot stand in an address is percent-encoded."""
    return _NOT_ALLOWED.sub(_encoded_character, text)


def _encoded_character(found: re.Match[str]) -> str:
    one = found[0]
    if one > "\x7f" and (one.isalnum() or unicodedata.category(one)[0] == "M"):
        return one
    return quote(one, errors="replace")
