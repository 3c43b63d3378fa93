"""A tokenizer for HTML that contains Liquid, and the place where a footer can be inserted.

An HTML parser that builds a tree would change the source (`{{ … }}` in an address, `{% for %}` in a table). This module
reads the source as the tokenizer of a browser does (WHATWG HTML §13.2.5). Its results are positions in the source, so
everything else stays unchanged.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# ── masking of Liquid ────────────────────────────────────────────────────────────────────────────────

# One private-use character replaces each placeholder or tag, so that no rule for HTML looks into it.
_FIRST_OUTPUT, _FIRST_TAG, _LAST = 0xF0000, 0xF8000, 0xFFFFB
LINK_PLACE = chr(_LAST + 1)
"""The marker before and after the number of a tracked link, which replaces the address in the source."""
FOOTER_PLACE = chr(_LAST + 2)
"""The marker at the position of the footer."""
OUTPUT = f"[{chr(_FIRST_OUTPUT)}-{chr(_FIRST_TAG - 1)}]"
TAG = f"[{chr(_FIRST_TAG)}-{chr(_LAST)}]"
_UNIT = re.compile(f"[{chr(_FIRST_OUTPUT)}-{chr(_LAST)}]")
LINK = re.compile(f"{LINK_PLACE}([0-9]+){LINK_PLACE}")
_RESERVED = re.compile(f"[{chr(_FIRST_OUTPUT)}-{FOOTER_PLACE}]")
_TAGS = re.compile(TAG)
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%-?\s*(?P<name>\w*).*?%\}", re.DOTALL)
_BLOCKS = {"if", "unless", "case", "for", "capture"}
_BRANCHES = {"else", "elsif", "when"}
# A brace that comes from an entity, or that is now next to another brace, must not become Liquid.
_BRACE = re.compile(f"\\{{(?=[{{%{chr(_FIRST_OUTPUT)}-{chr(_LAST)}])")


class Edit(NamedTuple):
    """Replaces the masked text from `start` to `end` by `text`."""

    start: int
    end: int
    text: str


class Masked:
    """The source of a template in which one character replaces each placeholder, tag and comment block."""

    def __init__(self, source: str) -> None:
        self._sources: dict[str, str] = {}
        self._nesting: dict[str, int] = {}
        self._names: dict[str, str] = {}
        source = _RESERVED.sub("\N{REPLACEMENT CHARACTER}", source)
        parts, position = [], 0
        for name, start, end in _units(source):
            parts += [source[position:start], self._unit(name, source[start:end])]
            position = end
        self.text = "".join(parts) + source[position:]

    def _unit(self, name: str | None, source: str) -> str:
        unit = chr((_FIRST_OUTPUT if name is None else _FIRST_TAG) + len(self._sources))
        self._sources[unit] = source
        self._nesting[unit] = 1 if name in _BLOCKS else -1 if (name or "").startswith("end") else 0
        if name is not None:
            self._names[unit] = name
        return unit

    @property
    def has_tags(self) -> bool:
        return _TAGS.search(self.text) is not None

    def restored(self, text: str) -> str:
        """The text with the original Liquid. Other text that looks like Liquid is made harmless."""
        text = _BRACE.sub("{ ", text)
        return _UNIT.sub(lambda found: self._sources[found[0]], text)

    def edited(self, edits: Iterable[Edit]) -> str:
        """The source after these edits. Edits must not overlap."""
        parts, position = [], 0
        for edit in sorted(edits):
            parts += [self.text[position : edit.start], edit.text]
            position = edit.end
        return self.restored("".join(parts) + self.text[position:])

    def liquid_in(self, text: str) -> list[str]:
        """The sources of the placeholders and tags in the text."""
        return [self._sources[found] for found in _UNIT.findall(text)]

    def tag_names(self, text: str) -> list[str]:
        """The names of the Liquid tags in the text."""
        return [self._names[found] for found in _TAGS.findall(text)]

    def balanced(self, text: str) -> bool:
        """Whether every Liquid block in the text starts and ends in it."""
        depth = 0
        for found in _TAGS.finditer(text):
            depth += self._nesting[found[0]]
            if depth < 0 or (depth == 0 and self._names[found[0]] in _BRANCHES):
                return False
        return depth == 0

    def blocks(self, name: str = "") -> list[tuple[int, int]]:
        """The start and end of each outermost Liquid block, with this name or with any name."""
        spans, depth, start = [], 0, 0
        for found in _TAGS.finditer(self.text):
            step = self._nesting[found[0]] if self._names[found[0]].endswith(name) else 0
            if depth == 0 and step == 1:
                start = found.start()
            depth += step
            if depth == 0 and step == -1:
                spans.append((start, found.end()))
        return spans


def _units(source: str) -> Iterator[tuple[str | None, int, int]]:
    """Each placeholder (name None), tag and complete comment block, with its start and end."""
    comments, comment_start = 0, 0
    for found in _LIQUID.finditer(source):
        name = found["name"]
        if name == "comment":
            comment_start = comment_start if comments else found.start()
            comments += 1
        elif name == "endcomment" and comments:
            comments -= 1
            if not comments:
                yield "comment", comment_start, found.end()
        elif not comments:
            yield name, found.start(), found.end()


def tags_in(text: str) -> str:
    """The Liquid tags of the text, without the text between them."""
    return "".join(_TAGS.findall(text))


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────


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


RAW_TEXT = {"iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
# A browser ends these elements by itself, and makes an empty element of a `</p>` without a start tag.
_IMPLICITLY_ENDED = {"body", "dd", "dt", "head", "html", "li", "option", "optgroup", "p", "rp", "rt"}
_ENDED_IN_TABLES = {"caption", "col", "colgroup", "tbody", "td", "tfoot", "th", "thead", "tr"}
_NO_END_TAG_NEEDED = _VOID | _IMPLICITLY_ENDED | _ENDED_IN_TABLES

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")  # any other `<` is text
_NAME_START = re.compile("</?[A-Za-z]")
# A Liquid tag ends the name of an element, as white space does: `<p{% if … %} class="…"{% endif %}>`.
_TAG = re.compile(
    rf"""<(?P<slash>/?)(?P<name>[A-Za-z][^\s/>{TAG[1:-1]}]*+)
        (?P<attributes>(?:=\s*+(?:"[^"]*+"|'[^']*+'|(?!["']))|[^=>]++)*+)>""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"<!---?>|<!--.*?--!?>", re.DOTALL)
_BOGUS_COMMENT = re.compile(r"<[!?/][^>]*>")
_QUOTED = re.compile(r""""[^"]*"|'[^']*'""")
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+))""")


def attribute(attributes: str, name: str) -> str:
    """The value of the attribute as it is written, with entities; empty if there is none."""
    for found in _ATTRIBUTE.finditer(attributes):
        if found[1].lower() == name:
            return found[2] or found[3] or found[4] or ""
    return ""


class Value(NamedTuple):
    """The position of an attribute's value in the tokenized text, and whether it is quoted."""

    start: int
    end: int
    is_quoted: bool


# WHATWG HTML §13.2.5.32-39: a "=" at the start of a name belongs to the name, a value without quotes ends only at white
# space or at the end of the tag, and only these five characters are white space.
_SPACE = " \t\n\r\f"
_NEXT_ATTRIBUTE = re.compile(
    rf"""[{_SPACE}/]*+(?P<name>=?[^{_SPACE}/>=]*+)
        (?:[{_SPACE}]*+=[{_SPACE}]*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^{_SPACE}>]*+)))?""",
    re.VERBOSE,
)


def values(token: Token, name: str) -> Iterator[Value]:
    """All values of this attribute in an opening tag. Liquid tags between attributes count as white space."""
    offset = token.end - 1 - len(token.attributes)
    position = 0
    while (found := _NEXT_ATTRIBUTE.match(token.attributes, position)) and found.end() > position:
        position = found.end()
        if re.sub(f"^{TAG}+|{TAG}+$", "", found["name"]).lower() == name and found.lastgroup != "name":
            start, end = found.span(found.lastgroup or 0)
            yield Value(offset + start, offset + end, found.lastgroup != "bare")


def has_attribute(attributes: str, name: str) -> bool:
    """Whether the attribute exists, with or without a value."""
    return re.search(rf"(?:^|[\s'/]){name}(?=[\s=/]|$)", _QUOTED.sub("''", attributes), re.IGNORECASE) is not None


def tokens(html: str) -> Iterator[Token]:
    """The tokens of the source, in one pass. Together they cover the whole source, even if it is malformed."""
    position = 0
    while position < len(html):
        found = _MARKUP.search(html, position)
        start = found.start() if found else len(html)
        if start > position:
            yield Token(Kind.TEXT, position, start)
        if start == len(html):
            return
        token = _markup(html, start)
        raw_end = _raw_text_end(html, token)
        if raw_end is None:
            yield Token(Kind.UNCLOSED, start, len(html), token.name)
            return
        yield token
        if raw_end > token.end:
            yield Token(Kind.HIDDEN, token.end, raw_end, token.name)
        position = raw_end


def _markup(html: str, start: int) -> Token:
    """The token that starts with the `<` at this position."""
    if html.startswith("<!--", start):
        return _hidden(html, start, _COMMENT)
    if not _NAME_START.match(html, start):
        return _hidden(html, start, _BOGUS_COMMENT)
    found = _TAG.match(html, start)
    if found is None:
        return Token(Kind.UNCLOSED, start, len(html))
    kind = Kind.CLOSE if found["slash"] else Kind.OPEN
    return Token(kind, start, found.end(), found["name"].lower(), found["attributes"])


def _hidden(html: str, start: int, pattern: re.Pattern[str]) -> Token:
    found = pattern.match(html, start)
    return Token(Kind.HIDDEN, start, found.end()) if found else Token(Kind.UNCLOSED, start, len(html))


def _raw_text_end(html: str, token: Token) -> int | None:
    """The position at which tags are read again after this token; None if a raw text has no end."""
    if token.kind is not Kind.OPEN or token.name not in RAW_TEXT:
        return token.end
    found = re.compile(rf"</{token.name}(?=[\s/>])", re.IGNORECASE).search(html, token.end)
    return found.start() if found else None


def footer_place(masked: Masked) -> Edit:
    """The edit that inserts FOOTER_PLACE where a footer is always shown.

    That is before the last `</body>` outside of Liquid blocks, else before `</html>`, else at the end, or before an
    unclosed token. Elements that are open there get end tags, so that none of them hides or contains the footer.
    """
    blocks = masked.blocks()
    ends = {"body": -1, "html": -1}
    shown = len(masked.text)
    for token in tokens(masked.text):
        if token.kind is Kind.UNCLOSED:
            shown = token.start
        elif token.kind is Kind.CLOSE and token.name in ends and block_around(token.start, blocks) is None:
            ends[token.name] = token.start
    place = next((end for end in ends.values() if end >= 0), None)
    if place is None:
        block = block_around(shown, blocks)
        place = block[0] if block else shown
    end_tags = "".join(f"</{name}>" for name in reversed(_open_elements(masked.text, place)))
    return Edit(place, place, end_tags + FOOTER_PLACE)


def block_around(place: int, blocks: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The block that contains the position, if any. The blocks must be in order."""
    before = bisect_left(blocks, (place, 0)) - 1
    return blocks[before] if before >= 0 and place < blocks[before][1] else None


def _open_elements(html: str, place: int) -> list[str]:
    """The names of the open elements that need an end tag, outermost first."""
    names: list[str] = []
    counts: Counter[str] = Counter()
    for token in tokens(html):
        if token.start >= place:
            break
        if token.kind is Kind.OPEN and token.name not in _NO_END_TAG_NEEDED:
            names.append(token.name)
            counts[token.name] += 1
        elif token.kind is Kind.CLOSE and counts[token.name]:
            while (name := names.pop()) != token.name:
                counts[name] -= 1
            counts[token.name] -= 1
    return names
