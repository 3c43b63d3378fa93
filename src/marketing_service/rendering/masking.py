"""Masking of Liquid: one private-use character replaces each placeholder or tag, so that no rule for HTML reads it."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.rendering.placeholders import UNSUBSCRIBE_URL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FIRST_OUTPUT, _FIRST_TAG, _LAST = 0xF0000, 0xF8000, 0xFFFF8
_MAX_UNITS = _LAST - _FIRST_TAG + 1
"""Placeholders and tags that have a character of their own. A valid template has far fewer (`language.MAX_TAGS`)."""
LINK_PLACE = chr(_LAST + 3)
"""The marker before and after the number of a tracked link, which replaces the address in the source."""
PREHEADER_PLACE = chr(_LAST + 4)
"""The marker at the position of the preheader. It sorts before the footer's, which can have the same position."""
FOOTER_PLACE = chr(_LAST + 5)
"""The marker at the position of the footer."""
ADDRESS_START, ADDRESS_END = chr(_LAST + 1), chr(_LAST + 2)
"""The markers around an address with Liquid in a derived text. Its values are encoded when they are filled in."""
MARK = chr(_LAST + 6)
"""The mark after an unsubscribe link (see `placement`). It is a noncharacter, so the values of a contact do not contain
it (see `characters`)."""
OUTPUT = f"[{chr(_FIRST_OUTPUT)}-{chr(_FIRST_TAG - 1)}]"
TAG = f"[{chr(_FIRST_TAG)}-{chr(_LAST)}]"
_UNIT = re.compile(f"[{chr(_FIRST_OUTPUT)}-{chr(_LAST)}]")
LINK = re.compile(f"{LINK_PLACE}([0-9]++){LINK_PLACE}")
_RESERVED = re.compile(f"[{chr(_FIRST_OUTPUT)}-{MARK}]")
_RESERVED_IN_DERIVED = re.compile(f"(?![{ADDRESS_START}{ADDRESS_END}])[{chr(_FIRST_OUTPUT)}-{MARK}]")
_TAGS = re.compile(TAG)
_START = re.compile(r"\{(?:\{|%-?(?P<tag>\s*+(?P<name>\w*+)))")
_OUTPUT_END = re.compile(r"\}\}")
_TAG_END = re.compile(r"%\}")
_UNSUBSCRIBE_URL = re.compile(rf"\{{\{{-?\s*+{UNSUBSCRIBE_URL}\s*+(?:\|\s*+escape\s*+)?-?\}}\}}")
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

    def __init__(self, source: str, *, is_derived: bool = False) -> None:
        """`is_derived`: the source is a text that `derive` made, so its markers of addresses stay."""
        self._sources: dict[str, str] = {}
        self._nesting: dict[str, int] = {}
        self._names: dict[str, str] = {}
        reserved = _RESERVED_IN_DERIVED if is_derived else _RESERVED
        source = reserved.sub("\N{REPLACEMENT CHARACTER}", source)
        parts, position = [], 0
        for name, start, end in _units(source):
            if len(self._sources) == _MAX_UNITS:
                break
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

    def is_unsubscribe_url(self, output: str) -> bool:
        """Whether the placeholder is `{{ unsubscribeUrl }}` without a filter that could change the address."""
        return _UNSUBSCRIBE_URL.fullmatch(self._sources[output]) is not None

    def rename(self, output: str, name: str, new_name: str) -> None:
        """Use another name in the source of this placeholder."""
        self._sources[output] = self._sources[output].replace(name, new_name)

    def begins_block(self, tag: str) -> bool:
        return self._nesting[tag] > 0

    def ends_block(self, tag: str) -> bool:
        return self._nesting[tag] < 0

    def is_branch(self, tag: str) -> bool:
        """Whether the tag begins another branch of a block, as `else` does."""
        return self._names[tag] in _BRANCHES

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


class _Ends:
    """Finds the next end of a placeholder or tag. Each part of the source is searched once for each kind of end."""

    def __init__(self, source: str, pattern: re.Pattern[str]) -> None:
        self._source = source
        self._pattern = pattern
        self._next = (0, 0)

    def after(self, position: int) -> int:
        """The position after the next end that starts at `position` or later; -1 if there is none."""
        start, end = self._next
        if end >= 0 and start < position:
            found = self._pattern.search(self._source, position)
            self._next = start, end = found.span() if found else (position, -1)
        return end


def _units(source: str) -> Iterator[tuple[str | None, int, int]]:
    """Each placeholder (name None), tag and complete comment block, with its start and end."""
    comments, comment_start = 0, 0
    for name, start, end in _delimited(source):
        if name == "comment":
            comment_start = comment_start if comments else start
            comments += 1
        elif name == "endcomment" and comments:
            comments -= 1
            if not comments:
                yield "comment", comment_start, end
        elif not comments:
            yield name, start, end


def _delimited(source: str) -> Iterator[tuple[str | None, int, int]]:
    """Each placeholder (name None) and tag that has an end, with its start and end."""
    outputs, tags = _Ends(source, _OUTPUT_END), _Ends(source, _TAG_END)
    position = 0
    while found := _START.search(source, position):
        start = found.start()
        end = (outputs if found["tag"] is None else tags).after(start + 2)
        if end >= 0:
            yield found["name"], start, end
        position = end if end >= 0 else start + 1


def tags_in(text: str) -> str:
    """The Liquid tags of the text, without the text between them."""
    return "".join(_TAGS.findall(text))


def block_around(place: int, blocks: list[tuple[int, int]]) -> tuple[int, int] | None:
    """The block that contains the position, if any. The blocks must be in order."""
    before = bisect_left(blocks, (place, 0)) - 1
    return blocks[before] if before >= 0 and place < blocks[before][1] else None
