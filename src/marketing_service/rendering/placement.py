"""Where an author has placed the unsubscribe link in a body, and which recipients get it there.

A body contains the link if `{{ unsubscribeUrl }}` is in its text, or begins the address of a link in its HTML. A
placeholder in a comment, in the head or in another attribute does not count, because the reader has no link then.

Outside of Liquid blocks, every recipient gets the link. Inside a block it depends on the contact. Such a placeholder
renders its address with a mark after it. The marks are removed when a message is rendered, and tell whether this
recipient got the link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from marketing_service.rendering.masking import MARK, OUTPUT, TAG, Masked, block_around
from marketing_service.rendering.placeholders import PLACED_URL, UNSUBSCRIBE, UNSUBSCRIBE_URL
from marketing_service.rendering.tokenizer import Kind, tokens, values
from marketing_service.rendering.visibility import HiddenElement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marketing_service.rendering.template import Slot, SlotContext

LINK_ELEMENTS = frozenset({"a", "area"})
_LIQUID = re.compile(f"({OUTPUT}|{TAG})")
_OUTPUT = re.compile(OUTPUT)
_TAG = re.compile(TAG)


class Placement(Enum):
    """Which recipients get the link where the author has placed it."""

    NOBODY = auto()
    SOME = auto()
    """It depends on the contact."""
    EVERYBODY = auto()


def place_link(masked: Masked, *, html: bool) -> Placement:
    """Which recipients get the link in this body. If it is SOME, the placeholders in `masked` get marks."""
    places = list(_places_in_html(masked) if html else _places_in_text(masked, masked.text))
    if not places:
        return Placement.NOBODY
    blocks = masked.blocks()
    if not all(block_around(place, blocks) for place in places):
        return Placement.EVERYBODY
    for place in places:
        masked.rename(masked.text[place], UNSUBSCRIBE_URL, PLACED_URL)
    return Placement.SOME


def _places_in_html(masked: Masked) -> Iterator[int]:
    hidden = HiddenElement()
    for token in tokens(masked.text):
        if token.kind is Kind.TEXT and hidden.name is None:
            yield from _places_in_text(masked, masked.text[token.start : token.end], token.start)
        elif token.kind is Kind.OPEN and hidden.open(token.name) and token.name in LINK_ELEMENTS:
            # A browser uses the first address.
            if (address := next(values(token, "href"), None)) is not None:
                places = _places_in_address(masked, masked.text[address.start : address.end])
                yield from (address.start + place for place in places)
        elif token.kind is Kind.CLOSE:
            hidden.close(token.name)


def _places_in_text(masked: Masked, text: str, start: int = 0) -> Iterator[int]:
    return (start + found.start() for found in _OUTPUT.finditer(text) if masked.is_unsubscribe_url(found[0]))


def _places_in_address(masked: Masked, address: str) -> Iterator[int]:
    """The placeholders that begin the address, for the contacts who get them."""
    place, has_begun = 0, False
    before_blocks: list[bool] = []
    for part in _LIQUID.split(address):
        if _TAG.fullmatch(part):
            if masked.begins_block(part):
                before_blocks.append(has_begun)
            elif masked.ends_block(part):
                has_begun |= before_blocks.pop() if before_blocks else False
            elif masked.is_branch(part):
                has_begun = before_blocks[-1] if before_blocks else False
        elif _OUTPUT.fullmatch(part):
            if not has_begun and masked.is_unsubscribe_url(part):
                yield place
            has_begun = True
        else:
            has_begun |= bool(part.strip())
        place += len(part)


@dataclass(frozen=True, slots=True)
class MarkedSlot:
    """A slot whose text can contain marks. They are removed, and the context knows that there is a link."""

    slot: Slot

    def fill(self, context: SlotContext) -> str:
        text = self.slot.fill(context)
        if MARK in text:
            # A filter may have changed the address.
            context.has_unsubscribe_link |= context.values[PLACED_URL] in text
            text = text.replace(MARK, "")
        return text


@dataclass(frozen=True, slots=True)
class FooterSlot:
    """The footer of a body, for recipients who did not get the link elsewhere in it. It is filled after all other
    slots."""

    before_link: str
    after_link: str

    def fill(self, context: SlotContext) -> str:
        if context.has_unsubscribe_link:
            return ""
        return f"{self.before_link}{context.values[UNSUBSCRIBE]}{self.after_link}"
