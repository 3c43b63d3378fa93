"""The preheader: a text that an inbox shows after the subject, and that the message itself hides."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import escape

from marketing_service.rendering.language import Escaping
from marketing_service.rendering.masking import PREHEADER_PLACE, TAG, Edit, Masked, block_around
from marketing_service.rendering.template import Template, TemplateSlot
from marketing_service.rendering.tokenizer import Kind, Token, tokens
from marketing_service.rendering.visibility import IN_HEAD

if TYPE_CHECKING:
    from marketing_service.rendering.template import Piece

# No property alone hides a text in every mail program; `mso-hide` is for Outlook. The console finds the text by the
# attribute. Line ends keep the lines short enough for 8-bit messages.
_BEFORE = (
    '<div style="display: none; max-width: 0; max-height: 0; overflow: hidden; opacity: 0; font-size: 1px; '
    'line-height: 1px; mso-hide: all" data-preheader>\n'
)
# An inbox fills the line with what follows. These invisible characters take the place of the message's first words.
_FILLER = "\n".join(["&#847;&zwnj;&nbsp;" * 10] * 10)
_AFTER = f"\n{_FILLER}\n</div>\n"

_TAGS = re.compile(TAG)
_SPACE = " \t\n\r\f\ufeff"


def preheader_pieces(source: str) -> tuple[Piece, ...]:
    """The hidden element with the rendered text. It is left out for contacts for whom the text is empty. Raises
    TemplateError."""
    masked = Masked(source)
    template = Template(masked.restored(str(escape(masked.text))), Escaping.OUTPUT)
    if any(isinstance(piece, str) and piece.strip() for piece in template.pieces):
        return _BEFORE, TemplateSlot(template), _AFTER
    return (TemplateSlot(template, _BEFORE, _AFTER),)


def preheader_place(masked: Masked) -> Edit:
    """The edit that inserts PREHEADER_PLACE where the content of the page begins, outside of Liquid blocks.

    That is after `<body>`, else before the first text or element that does not belong to a head.
    """
    blocks = masked.blocks()
    outside, content = 0, None
    for token in tokens(masked.text):
        if block_around(token.start, blocks) is None:
            outside = token.start
        if token.kind is Kind.OPEN and token.name == "body":
            block = block_around(token.end, blocks)
            return _at(token.end if block is None else _beside(block, masked.text, outside))
        if content is None and not _belongs_to_head(masked, token):
            content = outside
    return _at(len(masked.text) if content is None else content)


def _beside(block: tuple[int, int], text: str, before: int) -> int:
    """The position after the block, in which each branch may have its own `<body>`. If there is no more text, each
    branch is a page of its own, and the position is the one before it."""
    return block[1] if text[block[1] :].strip() else before


def _belongs_to_head(masked: Masked, token: Token) -> bool:
    if token.kind is Kind.TEXT:
        return not _TAGS.sub("", masked.text[token.start : token.end]).strip(_SPACE)
    return token.kind is Kind.HIDDEN or (token.kind is not Kind.UNCLOSED and token.name in IN_HEAD)


def _at(place: int) -> Edit:
    return Edit(place, place, PREHEADER_PLACE)
