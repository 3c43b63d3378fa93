"""The tokenizer for HTML that contains masked Liquid. All code that reads an author's HTML uses it.

An HTML parser that builds a tree would change the source (`{{ … }}` in an address, `{% for %}` in a table). This module
reads the source as the tokenizer of a browser does (WHATWG HTML §13.2.5). Its results are positions in the source, so
everything else stays unchanged.

The time is linear in the length of the source. Each pattern is possessive, so it reads a character at most a fixed
number of times. If a token has no end, the tokenizer stops, so no part of the source is searched twice.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.rendering.masking import TAG

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kind(Enum):
    """The kind of a token."""

    TEXT = auto()
    OPEN = auto()
    CLOSE = auto()
    HIDDEN = auto()
    """A comment, a doctype, or the content of an element such as `<style>` or `<script>`."""
    UNCLOSED = auto()
    """A comment, tag or raw text without an end: it includes everything after it."""


class Token(NamedTuple):
    """A part of the source. An opening or closing tag has a name in lower case and its attributes as written."""

    kind: Kind
    start: int
    end: int
    name: str = ""
    attributes: str = ""


class Attribute(NamedTuple):
    """An attribute of a tag: its name in lower case, and the position of its value in `Token.attributes`.

    An attribute without a value, such as `hidden`, has an empty value at its end.
    """

    name: str
    start: int
    end: int
    has_value: bool
    is_quoted: bool


RAW_TEXT = frozenset({"iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"})
_CONTAINS_TEXT = RAW_TEXT | {"plaintext"}  # nothing ends a `<plaintext>`

# Only these five characters are white space (WHATWG HTML §13.2.5.32-39). A "=" at the start of a name belongs to the
# name. A value without quotes ends only at white space or at the end of the tag.
_SPACE = " \t\n\r\f"
_NAME = f"=?+[^{_SPACE}/>=]*+"
_VALUE = f"""(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?!["'])(?P<bare>[^{_SPACE}>]*+))"""
_EQUALS = f"[{_SPACE}]*+="
# An attribute whose quoted value has no end is not an attribute: then the whole tag has no end.
_ATTRIBUTE = f"[{_SPACE}/]*+(?P<name>(?=[^{_SPACE}/>]){_NAME})(?:{_EQUALS}[{_SPACE}]*+{_VALUE}|(?!{_EQUALS}))"
_NEXT_ATTRIBUTE = re.compile(_ATTRIBUTE)
_ATTRIBUTES = re.sub(r"\(\?P<\w+>", "(?:", _ATTRIBUTE)
# A Liquid tag ends the name of an element, as white space does: `<p{% if … %} class="…"{% endif %}>`.
_ELEMENT = f"(?P<slash>/?)(?P<name>[A-Za-z][^{_SPACE}/>{TAG[1:-1]}]*+)(?P<attributes>(?:{_ATTRIBUTES})*+[{_SPACE}/]*+)>"
_COMMENT = "(?P<comment>!--(?:-?>|(?s:.*?)--!?>))"
_DECLARATION = "(?P<declaration>(?!!--)(?:[!?]|/(?![A-Za-z]))[^>]*+>)"
# The last alternative is a token without an end, which includes the rest of the source. Any other `<` is text.
_MARKUP = re.compile(f"<(?:{_ELEMENT}|{_COMMENT}|{_DECLARATION}|(?P<unclosed>[A-Za-z/!?](?s:.*+)))")
_RAW_TEXT_END = {name: re.compile(f"</{name}(?=[{_SPACE}/>])", re.IGNORECASE) for name in RAW_TEXT}
_LIQUID_TAGS = re.compile(TAG)


def tokens(html: str) -> Iterator[Token]:
    """The tokens of the source, in one pass. Together they cover the whole source, even if it is malformed."""
    position = 0
    while found := _MARKUP.search(html, position):
        start, end = found.span()
        if start > position:
            yield Token(Kind.TEXT, position, start)
        slash, name, attributes = found.group("slash", "name", "attributes")
        position = end
        if name is None:
            yield Token(Kind.UNCLOSED if found.lastgroup == "unclosed" else Kind.HIDDEN, start, end)
            continue
        name = name.lower()
        if slash:
            yield Token(Kind.CLOSE, start, end, name, attributes)
            continue
        if name in _CONTAINS_TEXT and (position := _end_of_raw_text(html, end, name)) < 0:
            position = len(html)
            yield Token(Kind.UNCLOSED, start, position, name)
            continue
        yield Token(Kind.OPEN, start, end, name, attributes)
        if position > end:
            yield Token(Kind.HIDDEN, end, position, name)
    if position < len(html):
        yield Token(Kind.TEXT, position, len(html))


def _end_of_raw_text(html: str, position: int, name: str) -> int:
    """The position at which tags are read again after an opening tag that ends here; -1 if its text has no end."""
    found = _RAW_TEXT_END[name].search(html, position) if name in RAW_TEXT else None
    return found.start() if found else -1


# ── attributes ───────────────────────────────────────────────────────────────────────────────────────


def _named(attributes: str, name: str) -> Iterator[Attribute]:
    """All attributes with this name."""
    if name in attributes.lower():  # this is fast, and most tags do not have the attribute
        yield from (found for found in read_attributes(attributes) if found.name == name)


def read_attributes(attributes: str) -> Iterator[Attribute]:
    """All attributes in the order of the source, also later ones with the same name.

    Liquid tags between attributes count as white space.
    """
    position = 0
    while found := _NEXT_ATTRIBUTE.match(attributes, position):
        position = found.end()
        name = _without_liquid_tags(found["name"]).lower()
        if name or found.lastgroup != "name":
            kind = found.lastgroup or "name"
            start, end = found.span(kind) if kind != "name" else (position, position)
            yield Attribute(name, start, end, kind != "name", kind in {"double", "single"})


def _without_liquid_tags(name: str) -> str:
    """The name without the Liquid tags before and after it."""
    start, end = 0, len(name)
    while start < end and _LIQUID_TAGS.match(name, start):
        start += 1
    while start < end and _LIQUID_TAGS.match(name, end - 1):
        end -= 1
    return name[start:end]


def first_attribute(attributes: str, name: str) -> Attribute | None:
    """The attribute with this name. A browser ignores all but the first."""
    return next(_named(attributes, name), None)


def attribute(attributes: str, name: str) -> str:
    """The value of the attribute as it is written, with entities; empty if there is none."""
    found = first_attribute(attributes, name)
    return attributes[found.start : found.end] if found else ""


def has_attribute(attributes: str, name: str) -> bool:
    """Whether the attribute exists, with or without a value."""
    return first_attribute(attributes, name) is not None


class Value(NamedTuple):
    """The position of an attribute's value in the tokenized text, and whether it is quoted."""

    start: int
    end: int
    is_quoted: bool


def values(token: Token, name: str) -> Iterator[Value]:
    """The values of this attribute in an opening tag that a reader may get.

    That is the first one. If the attributes contain Liquid tags, these may leave out any of them, so it is all.
    """
    offset = token.end - 1 - len(token.attributes)
    only_first = _LIQUID_TAGS.search(token.attributes) is None
    for found in _named(token.attributes, name):
        if found.has_value:
            yield Value(offset + found.start, offset + found.end, found.is_quoted)
        if only_first:
            return
