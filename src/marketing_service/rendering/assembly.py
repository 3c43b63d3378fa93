"""From the sources of the two bodies to their parts: a missing body is derived, and footer and links are inserted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.rendering.body_parts import BodyPart
from marketing_service.rendering.characters import without_byte_order_mark
from marketing_service.rendering.derive import html_from_text, text_from_html
from marketing_service.rendering.language import Escaping
from marketing_service.rendering.links import TrackedLinks
from marketing_service.rendering.markup import FOOTER_PLACE, LINK, Masked, footer_place
from marketing_service.rendering.masking import PREHEADER_PLACE
from marketing_service.rendering.placeholders import (
    BODY_PLACEHOLDERS,
    CLICK,
    PIXEL,
    PLACED_URL,
    UNSUBSCRIBE,
    UNSUBSCRIBE_URL,
)
from marketing_service.rendering.placement import FooterSlot, MarkedSlot, Placement, place_link
from marketing_service.rendering.preheader import preheader_pieces, preheader_place
from marketing_service.rendering.template import NotRenderable, PlaceholderSlot, Template, derived_text_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from marketing_service.rendering.footer import Footer
    from marketing_service.rendering.template import Piece

_COMPILED_NAMES = (*BODY_PLACEHOLDERS, PLACED_URL)
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Bodies(NamedTuple):
    """The sources of both templates; whether the text is derived, and then has tags; and the escaping of the HTML."""

    text: str
    is_text_derived: bool
    has_tags: bool
    html: str
    escaping: Escaping


def bodies_of(text: str, html: str) -> Bodies:
    """Both bodies. A missing one is derived from the other."""
    has_text, has_html = bool(text.strip()), bool(html.strip())
    if not (has_text or has_html):
        raise NotRenderable("The campaign has neither an HTML nor a text body.")
    # The code that derives or changes a body requires a valid template.
    if not has_html:
        text = text.strip("\n")
        Template(text, Escaping.NONE, names=BODY_PLACEHOLDERS)
        return Bodies(text, False, False, html_from_text(text), Escaping.OUTPUT)
    Template(html, Escaping.VALUES, names=BODY_PLACEHOLDERS)
    if has_text:
        return Bodies(text.strip("\n"), False, False, html, Escaping.VALUES)
    text, has_tags = text_from_html(html)
    return Bodies(text, True, has_tags, html, Escaping.VALUES)


def tracked_links(bodies: Bodies, *, links: str, known: Sequence[str] | None) -> TrackedLinks:
    """The tracked links of the HTML. `links`: the start of all addresses of this service. `known`: see TrackedLinks."""
    return TrackedLinks(
        own=f"{links}/",
        bound=Template(bodies.html, bodies.escaping, names=BODY_PLACEHOLDERS).bound,
        is_text=bodies.escaping is Escaping.OUTPUT,
        known=known,
    )


class Parts(NamedTuple):
    """Both bodies as parts of the message, and where each has the unsubscribe link that the author has placed."""

    text: BodyPart
    text_placement: Placement
    html: BodyPart
    html_placement: Placement


class Additions(NamedTuple):
    """What the service adds to the bodies: `preheader` is a template, `tracked` the links whose addresses are
    replaced."""

    footer: Footer
    preheader: str
    tracked: TrackedLinks | None


def body_parts(bodies: Bodies, additions: Additions, boundary: str) -> Parts:
    """The text and the HTML as parts of the message. Raises TemplateError."""
    return Parts(*_text_part(bodies, additions.footer, boundary), *_html_part(bodies, additions, boundary))


def _text_part(bodies: Bodies, footer: Footer, boundary: str) -> tuple[BodyPart, Placement]:
    source, placement = bodies.text, Placement.NOBODY
    if UNSUBSCRIBE_URL in source:
        masked = Masked(source, is_derived=bodies.is_text_derived)
        placement = place_link(masked, html=False)
        source = masked.restored(masked.text)
    text = Template(source, Escaping.NONE, names=_COMPILED_NAMES)
    pieces = text.pieces
    if bodies.is_text_derived:
        pieces = derived_text_pieces(text, has_tags=bodies.has_tags)
    pieces = (*_without_marks(pieces, placement), *_footer(placement, *footer.text))
    return BodyPart("plain", text, _ended(_joined(pieces)), boundary), placement


def _html_part(bodies: Bodies, additions: Additions, boundary: str) -> tuple[BodyPart, Placement]:
    footer, preheader, tracked = additions
    masked = Masked(bodies.html)
    edits = [footer_place(masked), *(tracked.edits(masked) if tracked else ())]
    if has_preheader := bool(preheader.strip()):
        edits.append(preheader_place(masked))
    placement = place_link(masked, html=True)
    html = Template(masked.edited(edits), bodies.escaping, names=_COMPILED_NAMES, linked=tracked is not None)
    pieces = _without_marks(html.pieces, placement)
    pieces = _with_inserted(pieces, FOOTER_PLACE, (*_footer(placement, *footer.html), PlaceholderSlot(PIXEL)))
    if has_preheader:
        pieces = _with_inserted(pieces, PREHEADER_PLACE, preheader_pieces(preheader))
    pieces = _with_links(pieces)
    return BodyPart("html", html, _ended(_joined(pieces)), boundary), placement


def _without_marks(pieces: Iterable[Piece], placement: Placement) -> Iterable[Piece]:
    if placement is not Placement.SOME:
        return pieces
    return (piece if isinstance(piece, str | PlaceholderSlot) else MarkedSlot(piece) for piece in pieces)


def _footer(placement: Placement, before_link: str, after_link: str) -> tuple[Piece, ...]:
    """The footer that is appended to a body in which the author has placed the link for these recipients."""
    if placement is Placement.EVERYBODY:
        return ()
    if placement is Placement.SOME:
        return (FooterSlot(before_link, after_link),)
    return before_link, PlaceholderSlot(UNSUBSCRIBE), after_link


def _with_inserted(pieces: Iterable[Piece], place: str, inserted: Iterable[Piece]) -> Iterable[Piece]:
    for piece in pieces:
        if isinstance(piece, str) and place in piece:
            before, _, after = piece.partition(place)
            yield from (before, *inserted, after)
        else:
            yield piece


def _with_links(pieces: Iterable[Piece]) -> Iterable[Piece]:
    for piece in pieces:
        if isinstance(piece, str):
            literals = LINK.split(piece)
            yield literals[0]
            for number, literal in zip(literals[1::2], literals[2::2], strict=True):
                yield from (PlaceholderSlot(CLICK), f"/{number}{literal}")
        else:
            yield piece


def _ended(pieces: list[Piece]) -> list[Piece]:
    """The pieces with a line end after the last line."""
    last = pieces[-1]
    return pieces if isinstance(last, str) and last.endswith("\n") else _joined((*pieces, "\n"))


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces with adjacent literals joined."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def clean_source(source: str) -> str:
    """The source with LF line ends, without control characters, and without a byte order mark at its start."""
    return without_byte_order_mark(_NOT_TEXT.sub("", source.replace("\r\n", "\n").replace("\r", "\n")))
