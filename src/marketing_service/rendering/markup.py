"""The place in an author's HTML where a footer can be inserted.

The other names of this module are those of `masking` and `tokenizer` that other code uses.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.rendering.masking import FOOTER_PLACE, LINK, LINK_PLACE, OUTPUT, TAG, Edit, Masked, block_around
from marketing_service.rendering.tokenizer import Kind, Token, attribute, has_attribute, tokens, values

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FOOTER_PLACE",
    "LINK",
    "LINK_PLACE",
    "OUTPUT",
    "TAG",
    "Edit",
    "Kind",
    "Masked",
    "Token",
    "attribute",
    "block_around",
    "footer_place",
    "has_attribute",
    "tokens",
    "values",
]

_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
# A browser ends these elements by itself, and makes an empty element of a `</p>` without a start tag.
_IMPLICITLY_ENDED = {"body", "dd", "dt", "head", "html", "li", "option", "optgroup", "p", "rp", "rt"}
_ENDED_IN_TABLES = {"caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"}
_NO_END_TAG_NEEDED = _VOID | _IMPLICITLY_ENDED | _ENDED_IN_TABLES


class _Open(NamedTuple):
    """An open element that needs an end tag, and the one around it. Two positions share what is open at both."""

    name: str
    outer: _Open | None


class _Elements:
    """The elements that are open after the tokens that were read."""

    def __init__(self) -> None:
        self.innermost: _Open | None = None
        self._counts: Counter[str] = Counter()

    def read(self, token: Token) -> None:
        if token.kind is Kind.OPEN and token.name not in _NO_END_TAG_NEEDED:
            self.innermost = _Open(token.name, self.innermost)
            self._counts[token.name] += 1
        elif token.kind is Kind.CLOSE and self._counts[token.name]:
            # The counter shows that the element is open, so each step removes one, and all steps are linear together.
            while self.innermost is not None:
                name, self.innermost = self.innermost
                self._counts[name] -= 1
                if name == token.name:
                    return


def footer_place(masked: Masked) -> Edit:
    """The edit that inserts FOOTER_PLACE where a footer is always shown.

    That is before the last `</body>` outside of Liquid blocks, else before `</html>`, else at the end, or before an
    unclosed token. Elements that are open there get end tags, so that none of them hides or contains the footer.
    """
    blocks, block = masked.blocks(), 0
    before_block: tuple[int, _Open | None] = 0, None
    elements = _Elements()
    ends: dict[str, tuple[int, _Open | None]] = {}
    for token in tokens(masked.text):
        is_unclosed = token.kind is Kind.UNCLOSED
        while block < len(blocks) and blocks[block][0] < (token.start if is_unclosed else token.end):
            # A block can start inside a tag. The footer is never inserted there.
            start = blocks[block][0] if token.kind is Kind.TEXT else min(token.start, blocks[block][0])
            before_block = start, elements.innermost
            block += 1
        if is_unclosed:
            ends[""] = before_block if block_around(token.start, blocks) else (token.start, elements.innermost)
        elif token.kind is Kind.CLOSE and token.name in {"body", "html"} and not block_around(token.start, blocks):
            ends[token.name] = token.start, elements.innermost
        elements.read(token)
    at_end = len(masked.text), elements.innermost
    place, innermost = ends.get("body") or ends.get("html") or ends.get("") or at_end
    return Edit(place, place, "".join(f"</{name}>" for name in _names(innermost)) + FOOTER_PLACE)


def _names(element: _Open | None) -> Iterator[str]:
    """The names of the open elements, from the innermost outwards."""
    while element is not None:
        yield element.name
        element = element.outer
