"""The characters that are not allowed in a line that recipients see: a name, a subject, a value of the CRM.

What a person types is refused, so that the person can correct it. In values of the CRM the characters are removed,
because nobody who could correct them is present.

| characters | what they do | in values of the CRM |
| --- | --- | --- |
| C0 and C1 controls, DEL, U+2028, U+2029 | end a line or a header field | become a space, because they separate words |
| U+202A-202E, U+2066-2069 | change the order in which a whole line is shown (UAX #9 §2.1-2.4) | removed |
| U+FEFF | invisible; the rest of a byte order mark | removed |
| surrogates | half a character; UTF-8 cannot contain them | removed |
| noncharacters (U+FDD0-FDEF, U+xxFFFE, U+xxFFFF) | are for internal use (Unicode §23.7) | removed |

U+200E, U+200F and U+061C stay allowed. They affect only the punctuation beside them, and names in Hebrew and Arabic
need them. U+200C and U+200D stay allowed, because Persian, Indian scripts and emoji need them.

A body may contain all of them, because only its author decides how it looks. One is removed: U+FEFF at the start, which
is the byte order mark of a file and no text (Unicode §23.8). Elsewhere U+FEFF stays: it is a filler there.
"""

from __future__ import annotations

import re
import unicodedata

_LINE_ENDS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
_REMOVED = f"{_BIDI}\ufeff\ud800-\udfff{_NONCHARACTERS}"

_LINE_END = re.compile(f"[{_LINE_ENDS}]")
_TO_REMOVE = re.compile(f"[{_REMOVED}]")
_NOT_ALLOWED = re.compile(f"[{_LINE_ENDS}{_REMOVED}]")

# What can stand before a page's first element or a text's first word. The last alternative of the marks is the mark's
# three octets of UTF-8, read as Windows-1252.
_BYTE_ORDER_MARK = re.compile("\ufeff|\u00ef\u00bb\u00bf")
_BEFORE_CONTENT = re.compile(
    r"\A(?:[\s\ufeff]|\u00ef\u00bb\u00bf|<!doctype[^>]*+>|<\?xml[^>]*+>|<!--(?s:.*?)-->)*+", re.IGNORECASE
)


def without_byte_order_mark(body: str) -> str:
    """The body without the byte order marks before its first element or word, also after its doctype and comments."""
    start = _BEFORE_CONTENT.match(body)
    if start is None:  # the pattern also matches an empty start
        return body
    return _BYTE_ORDER_MARK.sub("", start[0]) + body[start.end() :]


def character_problem(text: str) -> str | None:
    """Why a text from a user cannot be shown as one line, as one sentence; None if it can be shown."""
    found = _NOT_ALLOWED.search(text)
    if found is None:
        return None
    code, position = f"U+{ord(found[0]):04X}", found.start() + 1
    if _LINE_END.match(found[0]):
        return f"It contains a line break or control character ({code}) at position {position}."
    name = unicodedata.name(found[0], "not a character")
    return f"It contains an invisible character ({code}) at position {position}: {name}. Remove it."


def one_line(text: str) -> str:
    """The text of the CRM without the characters that are not allowed."""
    if text.isprintable():  # none of these characters is printable
        return text
    return _TO_REMOVE.sub("", _LINE_END.sub(" ", text))
