"""Links whose clicks are counted: which of a message's addresses those are, and where a click on one leads."""

from __future__ import annotations

import html
import re
from html.entities import html5
from typing import TYPE_CHECKING
from urllib.parse import quote

import idna

from marketing_service.rendering.language import Escaping, TemplateError
from marketing_service.rendering.markup import LINK_PLACE, OUTPUT, TAG, Edit, Kind, Masked, block_around, tokens, values
from marketing_service.rendering.template import NotRenderable, Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.rendering.markup import Value
    from marketing_service.rendering.template import MergeFields

MAX_LINKS = 500
"""Different links of one message; those behind them stay as they are written."""
MAX_LINK = 2000
"""Characters. A longer address might be more than a proxy takes in a header, and stays as it is written."""

_LINKING = {"a", "area"}
_LIQUID = re.compile(f"{OUTPUT}|{TAG}")
_LIQUID_NEXT = re.compile(f"\\s*(?:{OUTPUT}|{TAG})")
_CONDITIONS = {"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase"}

# What a browser skips around an address, and inside of it (WHATWG URL §4.4).
_AROUND = "".join(map(chr, range(0x21)))
_INSIDE = re.compile(r"[\t\n\r]")
# The authority is all literal, and ends where a browser says so. No user name: `https://bank.example@evil.example` is
# made for taking people in.
_ORIGIN = re.compile(
    r"https?://(?:(?P<host>[A-Za-z0-9_.\-\u00a1-\uffff]{1,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?=[/?#]|\Z)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9A-Fa-f]+;?|([A-Za-z][A-Za-z0-9]*;?)(=?))")
# RFC 3986 §2: what may stand in an address, with the "%" of what is encoded already.
_IN_ADDRESSES = "!#$%&'()*+,-./:;=?@[]_~"


class TrackedLinks:
    """The tracked links of one HTML template, numbered from 1 in order of first appearance.

    `own`: how addresses begin that are ours already and stay as they are. `bound`: names that the template gives
    values to. `is_text`: it was made from a plain text, whose literals are escaped too. `known`: the links of a list
    that stands; no others are then tracked, so that their numbers outlive any change of this code.
    """

    def __init__(self, *, own: str, bound: frozenset[str], is_text: bool, known: Sequence[str] | None) -> None:
        self._own = own
        self._bound = bound
        self._is_text = is_text
        self._most = MAX_LINKS if known is None else 0
        self.sources: list[str] = list(known or ())
        """The addresses by number, as they are written in the HTML."""
        self._numbers = {_key(source): number for number, source in enumerate(self.sources, 1)}

    def places(self, masked: Masked) -> list[Edit]:
        """Puts a place, with the link's number, where each address stands."""
        captures = masked.blocks("capture")
        edits = []
        for token in tokens(masked.text):
            if token.kind is not Kind.OPEN or token.name not in _LINKING:
                continue
            for value in values(token, "href"):
                # What is captured may be cut or changed before it is shown, and an address of ours with it.
                if block_around(value.start, captures) or (not value.is_quoted and _liquid_is_near(masked.text, value)):
                    continue
                if (number := self._number(masked, masked.text[value.start : value.end])) is not None:
                    edits.append(Edit(value.start, value.end, f"{LINK_PLACE}{number}{LINK_PLACE}"))
        return edits

    def _number(self, masked: Masked, written: str) -> int | None:
        if len(written) > MAX_LINK or _ORIGIN.match(written.lstrip(_AROUND)) is None:
            return None
        source = masked.restored(written)
        key = _key(source)
        number = self._numbers.get(key)
        if number is None and len(self.sources) < self._most and self._can_be_tracked(masked, written, source):
            self.sources.append(source)
            number = self._numbers[key] = len(self.sources)
        return number

    def _can_be_tracked(self, masked: Masked, written: str, source: str) -> bool:
        """Whether a click can find out by itself where the link leads, for every contact."""
        if len(source) > MAX_LINK or _taken_apart(source) is None or _read(source).startswith(self._own):
            return False
        if source == written:  # no Liquid in it
            return True
        if not set(masked.tag_names(written)) <= _CONDITIONS or not masked.balanced(written):
            return False
        if self._is_text and any(map(_has_markup_in_literals, masked.liquid_in(written))):
            return False
        try:
            return not Template(source, Escaping.VALUES).names & self._bound
        except TemplateError:  # a loop's own variable, for one
            return False


def _liquid_is_near(text: str, value: Value) -> bool:
    """Whether there is Liquid in the value or right behind it, which may take away the white space that ends it."""
    return _LIQUID.search(text, value.start, value.end) is not None or _LIQUID_NEXT.match(text, value.end) is not None


def _has_markup_in_literals(liquid: str) -> bool:
    return re.search("[&<>]", liquid) is not None or ("'" in liquid and '"' in liquid)


def shown_link(source: str) -> str:
    """The address as a person would write it, its placeholders still in it."""
    masked = Masked(source)
    return masked.restored(_read(masked.text))


def link_target(source: str, fields: MergeFields) -> str | None:
    """Where a click of this contact leads: an address fit for a Location header (RFC 9110 §10.2.2), with the scheme
    and host that `source` names literally; None where none comes of it."""
    try:
        rendered = Template(source, Escaping.VALUES).fill(fields.cleaned())
    except (TemplateError, NotRenderable):
        return None
    written, filled = _taken_apart(source), _taken_apart(_read(rendered))
    if written is None or filled is None or written[0] != filled[0]:
        return None
    return filled[0] + quote(filled[1], safe=_IN_ADDRESSES)


def _key(source: str) -> str:
    """The same for two spellings of one address. Where contacts' values come in, only the same spelling is the same."""
    return source if "{" in source else _read(source)


def _taken_apart(address: str) -> tuple[str, str] | None:
    """The address's scheme, host and port, in ASCII, and what follows; None where a browser might find another host
    in it, or none."""
    address = address.lstrip(_AROUND)
    found = _ORIGIN.match(address)
    if found is None:
        return None
    origin = found[0]
    if not origin.isascii():
        try:
            origin = origin.replace(found["host"], idna.encode(found["host"], uts46=True).decode("ascii"))
        except idna.IDNAError:
            return None
        if not _ORIGIN.fullmatch(origin):
            return None
    return origin, address[found.end() :]


def _read(value: str) -> str:
    """The address that a browser reads in the value of a `href`."""
    return _INSIDE.sub("", _REFERENCE.sub(_character, value).strip(_AROUND))


def _character(reference: re.Match[str]) -> str:
    """What a character reference in an attribute stands for (WHATWG HTML §13.2.5.73)."""
    name, equals = reference[1], reference[2]
    if name is None:
        return html.unescape(reference[0])
    if name not in html5 or (equals and not name.endswith(";")):
        return reference[0]
    return html5[name] + equals
