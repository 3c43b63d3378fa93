"""Finds a token in a text that a mail program or a scanner has damaged.

Programs add signs around a link, break it into lines, and encode it again: `=3D`, `%253E`, `&amp;`, a line break in the
middle. The signature decides which characters are the token, so a wrong guess finds nothing.

- The text is decoded in steps: percent-encoding (RFC 3986 §2.1), character references of HTML, quoted-printable with
  its soft line breaks (RFC 2045 §6.7). Each step gives one more reading of the text.
- In each reading everything is removed that is no character of a token. So the two halves of a broken token become one.
- Each 43 characters in a row that have the form of a token are a candidate.

The work is bounded: a longer text than MAX_TEXT is not read, and of a text with more than MAX_CANDIDATES candidates
none is tested. A part of the candidates would not be enough, because a second valid token must be found too.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from marketing_service.tokens.keyring import LAST_CHARACTERS, TOKEN_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from marketing_service.tokens.keyring import Purpose, TokenKeyring

MAX_TEXT = 1_024
"""Characters."""
MAX_CANDIDATES = 256
"""Each costs one HMAC per key of the purpose."""
_ROUNDS = 2
"""A text may be encoded twice."""

_NO_TOKEN_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
_QUOTED_PRINTABLE = re.compile(r"=(?:[ \t]*+(?:\r\n?|\n)|([0-9A-Fa-f]{2}))", re.ASCII)
# Programs that improve typography write other signs for one hyphen or for two.
_HYPHENS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212\ufe58\ufe63\uff0d"), "-")
_DOUBLE_HYPHENS = _HYPHENS | dict.fromkeys(map(ord, "\u2013\u2014"), "--")


class FoundToken(NamedTuple):
    """A valid token, and the texts that follow it: one for each reading that contains it, the most decoded first."""

    token_id: UUID
    token: str
    rests: tuple[str, ...]


class DamagedText:
    """The candidates in a text. `readings` has the text itself, and the text after each step of decoding."""

    def __init__(self, text: str) -> None:
        self.readings = tuple(_readings(text)) if len(text) <= MAX_TEXT else ()
        self._joined = {_NO_TOKEN_CHARACTERS.sub("", reading): reading for reading in self.readings}
        self._candidates = self._find_candidates()

    def find(self, keyring: TokenKeyring, purpose: Purpose) -> list[FoundToken]:
        """Every valid token of this purpose, of different ids."""
        found: dict[UUID, FoundToken] = {}
        for candidate in self._candidates:
            token_id = keyring.read(purpose, candidate)
            if token_id is not None and token_id not in found:
                found[token_id] = FoundToken(token_id, candidate, tuple(self._rests(candidate)))
        return list(found.values())

    def _find_candidates(self) -> set[str]:
        candidates: set[str] = set()
        for joined in self._joined:
            for end in range(TOKEN_LENGTH, len(joined) + 1):
                if joined[end - 1] in LAST_CHARACTERS:
                    candidates.add(joined[end - TOKEN_LENGTH : end])
            if len(candidates) > MAX_CANDIDATES:
                return set()
        return candidates

    def _rests(self, token: str) -> Iterator[str]:
        for joined, reading in reversed(self._joined.items()):
            start = joined.find(token)
            if start >= 0:
                yield _after(reading, start + len(token))


def _readings(text: str) -> Iterator[str]:
    yield text
    for _ in range(_ROUNDS):
        before = text
        for decode in (unquote, html.unescape, _without_quoted_printable):
            decoded = decode(text)
            if decoded != text:
                yield decoded
            text = decoded
        if text == before:
            break
    for hyphens in (_HYPHENS, _DOUBLE_HYPHENS):
        if (hyphenated := text.translate(hyphens)) != text:
            yield hyphenated


def _without_quoted_printable(text: str) -> str:
    # Of an octet above 127 only one thing matters: it is no character of a token.
    return _QUOTED_PRINTABLE.sub(lambda found: chr(int(found[1], 16)) if found[1] else "", text)


def _after(reading: str, count: int) -> str:
    """What follows the first `count` characters that may be part of a token."""
    for part in _NO_TOKEN_CHARACTERS.finditer(reading):
        if part.start() >= count:
            break
        count += len(part[0])
    return reading[count:]
