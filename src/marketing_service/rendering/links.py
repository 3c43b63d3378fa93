"""Tracked links: which links of a message are tracked, and where a click on one leads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import idna

from marketing_service.rendering.hrefs import AROUND, forward_slashes, parse_href
from marketing_service.rendering.language import Escaping, TemplateError
from marketing_service.rendering.markup import LINK_PLACE, OUTPUT, TAG, Edit, Kind, Masked, block_around, tokens, values
from marketing_service.rendering.placement import LINK_ELEMENTS
from marketing_service.rendering.template import NotRenderable, Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.rendering.template import MergeFields
    from marketing_service.rendering.tokenizer import Value

MAX_LINKS = 500
"""Maximum number of tracked links in a message. Further links are not changed."""
_MAX_REFUSED = 500
"""Different addresses that are examined and cannot be tracked. After them, no further link is tracked: to examine an
address with an international domain or with placeholders takes long."""
MAX_LINK = 2000
"""Characters. A longer address could exceed the header limit of a proxy, so it is not changed."""

_LIQUID = re.compile(f"{OUTPUT}|{TAG}")
_LIQUID_NEXT = re.compile(f"\\s*+(?:{OUTPUT}|{TAG})")
_CONDITIONS = {"if", "elsif", "else", "endif", "unless", "endunless", "case", "when", "endcase"}

# The authority must be literal, and ends where it ends for a browser. A user name is not allowed, because an address
# such as `https://bank.example@evil.example` is used to deceive.
_ORIGIN = re.compile(
    r"https?://(?:(?P<host>[A-Za-z0-9_.\-\u00a1-\uffff]{1,253}+)|\[[0-9A-Fa-f:.]{2,45}+\])(?::[0-9]{1,5}+)?+(?=[/?#]|\Z)",
    re.IGNORECASE,
)
_MARKUP_IN_LITERAL = re.compile("[&<>]")
# RFC 3986 §2: the characters allowed in an address, with the "%" of parts that are encoded already.
_IN_ADDRESSES = "!#$%&'()*+,-./:;=?@[]_~"


class TrackedLinks:
    """The tracked links of one HTML template, numbered from 1 in order of first appearance.

    `own`: the start of addresses of this service, which are not tracked. `bound`: the names that the template binds
    itself. `is_text`: the HTML was made from a plain text, so literals are escaped too. `known`: the links that are
    already stored. If they are given, no other link is tracked, so the numbers stay valid when this code changes.
    """

    def __init__(self, *, own: str, bound: frozenset[str], is_text: bool, known: Sequence[str] | None) -> None:
        self._own = own
        self._bound = bound
        self._is_text = is_text
        self._max_links = MAX_LINKS if known is None else 0
        self._refused: set[str] = set()
        self.sources: list[str] = list(known or ())
        """The addresses in the order of their numbers, as they are written in the HTML."""
        self._numbers = {_key(source): number for number, source in enumerate(self.sources, 1)}

    def edits(self, masked: Masked) -> list[Edit]:
        """The edits that replace each tracked address by a marker with the link's number."""
        captures = masked.blocks("capture")
        edits = []
        for token in tokens(masked.text):
            if token.kind is not Kind.OPEN or token.name not in LINK_ELEMENTS:
                continue
            for value in values(token, "href"):
                # Captured text may be truncated or changed before it is shown, which would break a click URL.
                if block_around(value.start, captures) or (not value.is_quoted and _liquid_is_near(masked.text, value)):
                    continue
                if (number := self._number(masked, masked.text[value.start : value.end])) is not None:
                    edits.append(Edit(value.start, value.end, f"{LINK_PLACE}{number}{LINK_PLACE}"))
        return edits

    def _number(self, masked: Masked, written: str) -> int | None:
        if len(written) > MAX_LINK or _ORIGIN.match(written.lstrip(AROUND)) is None:
            return None
        source = masked.restored(written)
        key = _key(source)
        number = self._numbers.get(key)
        if number is not None or len(self.sources) >= self._max_links or key in self._refused:
            return number
        if len(self._refused) >= _MAX_REFUSED:
            return None
        if not self._can_be_tracked(masked, written, source):
            self._refused.add(key)
            return None
        self.sources.append(source)
        self._numbers[key] = len(self.sources)
        return len(self.sources)

    def _can_be_tracked(self, masked: Masked, written: str, source: str) -> bool:
        """Whether the target can be computed at the time of a click, for every contact."""
        parts = _split_origin(source) if len(source) <= MAX_LINK else None
        if parts is None or (_normal_origin(parts[0]) + parse_href(parts[1])).startswith(self._own):
            return False
        if source == written:  # no Liquid in it
            return True
        if not set(masked.tag_names(written)) <= _CONDITIONS or not masked.balanced(written):
            return False
        if self._is_text and any(map(_has_markup_in_literals, masked.liquid_in(written))):
            return False
        try:
            return not Template(source, Escaping.VALUES).names & self._bound
        except TemplateError:  # for example the variable of a loop
            return False


def _liquid_is_near(text: str, value: Value) -> bool:
    """Whether Liquid is in the value or directly after it, where it can remove the white space that ends the value."""
    return _LIQUID.search(text, value.start, value.end) is not None or _LIQUID_NEXT.match(text, value.end) is not None


def _has_markup_in_literals(liquid: str) -> bool:
    return _MARKUP_IN_LITERAL.search(liquid) is not None or ("'" in liquid and '"' in liquid)


def shown_link(source: str) -> str:
    """The address as a person would write it, with its placeholders."""
    masked = Masked(source)
    return masked.restored(parse_href(masked.text))


def link_target(source: str, fields: MergeFields) -> str | None:
    """The target of a click by this contact, valid for a Location header (RFC 9110 §10.2.2).

    Scheme and host are those that `source` contains literally. None if there is no valid target.
    """
    try:
        rendered = Template(source, Escaping.VALUES).fill(fields.cleaned())
    except (TemplateError, NotRenderable):
        return None
    written, filled = _split_origin(source), _split_origin(parse_href(rendered))
    if written is None or filled is None or written[0] != filled[0]:
        return None
    return filled[0] + quote(forward_slashes(filled[1]), safe=_IN_ADDRESSES)


def _key(source: str) -> str:
    """A key that is equal for two spellings of one address. With placeholders, only equal spellings have equal keys."""
    return source if "{" in source else parse_href(source)


def _normal_origin(origin: str) -> str:
    """The origin as `web_urls` writes it: in lower case, and without a default port."""
    origin = origin.lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def _split_origin(address: str) -> tuple[str, str] | None:
    """The scheme, host and port in ASCII, and the rest of the address.

    None if a browser could read another host in it, or none.
    """
    address = address.lstrip(AROUND)
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
