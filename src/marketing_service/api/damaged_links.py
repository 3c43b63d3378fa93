"""Repairs the paths of pixels, links and unsubscribe links that mail programs have damaged.

A damaged path becomes the path that was mailed, before anything else reads it. So the limits, the routes and the
metrics know only exact paths. See `tokens/damaged.py` for how the token is found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.tokens import MAX_TEXT, TOKEN_PATTERN, DamagedText, Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope

    from marketing_service.tokens import FoundToken, TokenKeyring


class _Link(NamedTuple):
    purpose: Purpose
    before: str
    after: str


_LINKS = {
    "unsubscribe": _Link(Purpose.UNSUBSCRIBE, "/api/marketing/unsubscribe/", ""),
    "click": _Link(Purpose.CLICK, "/api/marketing/click/", "/{number}"),
    "pixel": _Link(Purpose.OPEN, "/api/marketing/pixel/", ".gif"),
}
_INVALID = "-"
"""A path without a valid token gets this in its place. So a path with slashes in it gets the page of its route, too."""

# What a path needs to be a link at all: one of the words, or a sign that no other path of the API has.
_MAY_BE_LINK = re.compile(r"unsubscribe|click|pixel|[^A-Za-z0-9/._~-]", re.IGNORECASE | re.ASCII)
_WORDS = re.compile("|".join(_LINKS))
_NO_LETTERS = re.compile(r"[^a-z]+")
_EXACT = re.compile(
    rf"/api/marketing/(?:unsubscribe/{TOKEN_PATTERN}|click/{TOKEN_PATTERN}/[1-9][0-9]{{0,2}}|pixel/{TOKEN_PATTERN}\.gif)",
    re.ASCII,
)
# Between the token and the number everything up to a slash is ignored, and after the slash all but letters, digits and
# a minus. A number ends before any other sign; `1.5` and a NUL are no damage that a mail program makes.
_NUMBER = re.compile(r"[^/\\]*+[/\\][^A-Za-z0-9-]*+([1-9][0-9]{0,2})(?![A-Za-z0-9\0]|\.[0-9])", re.ASCII)


class DamagedLinks:
    """Finds the link that a damaged path was. Only a token with a valid signature makes it a link."""

    def __init__(self, tokens: TokenKeyring) -> None:
        self._tokens = tokens

    def repaired(self, scope: Scope) -> Scope:
        """The request with the path that was mailed; the same request if its path is no damaged link."""
        path = self.path(scope["path"])
        return scope if path == scope["path"] else {**scope, "path": path, "raw_path": path.encode("ascii")}

    def path(self, path: str) -> str:
        """The path that was mailed, if the path is a damaged form of it and has exactly one valid token; else the same
        path, or below the path of a link one with an invalid token.

        A path with the tokens of two sends is not repaired. The work grows with the length of the path up to MAX_TEXT
        characters. A longer path is not read.
        """
        if _MAY_BE_LINK.search(path) is None or _EXACT.fullmatch(path):
            return path
        if len(path) <= MAX_TEXT and (mailed := self._mailed(path)) is not None:
            return mailed
        for link in _LINKS.values():
            if path.startswith(link.before):
                return link.before + _INVALID + link.after.format(number=_INVALID)
        return path

    def _mailed(self, path: str) -> str | None:
        text = DamagedText(path)
        found = [(link, token) for link in _links_in(text.readings) for token in text.find(self._tokens, link.purpose)]
        if len({token.token_id for _, token in found}) != 1:
            return None
        # Two links of one send: the path begins with the first one.
        link, token = found[0]
        return link.before + token.token + link.after.format(number=_number_after(token))


def _links_in(readings: Sequence[str]) -> list[_Link]:
    """The links whose words are in the text, in the order of the words. A line break may be in the middle of a word."""
    words = (word for reading in readings for word in _WORDS.findall(_NO_LETTERS.sub("", reading.lower())))
    return [_LINKS[word] for word in dict.fromkeys(words)]


def _number_after(token: FoundToken) -> str:
    numbers = (_NUMBER.match(rest) for rest in token.rests)
    return next((found[1] for found in numbers if found), _INVALID)
