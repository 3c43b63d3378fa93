"""Text in a CSV file that no spreadsheet executes as a formula, and the way back to the original text.

A spreadsheet may split a line at another separator than the one that the file uses. Then a part of a cell becomes a
cell. So an apostrophe is inserted before each sign that starts a formula, if the sign is at the start of the text, or
if only characters that a reader may ignore are between it and a separator (OWASP, "CSV Injection").
"""

from __future__ import annotations

import re

# Some spreadsheets accept the full-width forms too.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
# A line end separates too: in a line that is split at another separator, quotes do not protect it.
_SEPARATORS = ",;\t\r\n"
# Quotes, control characters, blanks, and characters without width: format characters, fillers, variation selectors.
_IGNORED = (
    '"\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f'
    "\u2800\u3000\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
# Apostrophes of the author before the sign are kept, and one is added, so that `original` is exact.
_AFTER_SEPARATOR = re.compile(f"([{_SEPARATORS}][{_SEPARATORS}{_IGNORED}]*+)('*+[{_SIGNS}])?+")
_AT_START = re.compile(f"'*+(?:[\t\r\n]|[{_SEPARATORS}{_IGNORED}]*+'*+[{_SIGNS}])")


def neutralised(text: str) -> str:
    """The text with an apostrophe before each sign that would start a formula."""
    text = _AFTER_SEPARATOR.sub(lambda found: f"{found[1]}'{found[2]}" if found[2] else found[0], text)
    return f"'{text}" if _AT_START.match(text) else text


def original(text: str) -> str:
    """The text that `neutralised` has changed into this one."""
    if text.startswith("'") and _AT_START.match(text):
        text = text[1:]
    return _AFTER_SEPARATOR.sub(_without_apostrophe, text)


def _without_apostrophe(found: re.Match[str]) -> str:
    return found[1] + (found[2] or "").removeprefix("'")
