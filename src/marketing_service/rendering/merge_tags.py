"""Finds the merge tags of other mailing systems in what an author wrote: this service does not replace them."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from marketing_service.rendering.character_references import unescape
from marketing_service.rendering.characters import one_line
from marketing_service.rendering.hrefs import parse_href
from marketing_service.rendering.masking import Masked
from marketing_service.rendering.merge_tag_syntax import names_field, tags_in_address, tags_in_text
from marketing_service.rendering.tokenizer import Kind, read_attributes, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marketing_service.rendering.merge_tag_syntax import Tag
    from marketing_service.rendering.tokenizer import Token

_MAX_SHOWN = 60
"""Characters of a tag that are shown."""

_ADDRESSES = frozenset({"action", "background", "cite", "href", "poster", "src", "srcset"})
_TEXTS = frozenset({"alt", "aria-label", "content", "label", "placeholder", "summary", "title", "value"})
# What stands in these elements is shown as it is written on purpose.
_CODE = frozenset({"code", "kbd", "pre", "samp", "tt"})
_SHOWN_RAW_TEXT = frozenset({"textarea", "title"})
# Outlook shows what stands in such a comment.
_CONDITIONAL = re.compile(r"<!--\[if[^\]\n]*+\]>")
_LINE_END = re.compile("\n")
_FENCE = "```"
_INLINE_CODE = re.compile("`[^`\n]*+`")
_ENCODED = re.compile("%(?:5B|7B|7C)", re.IGNORECASE)


@dataclass(slots=True)
class MergeTag:
    """A merge tag of another system, as often as it occurs. `line` is the first one, counted from 1. `system` is empty
    if many systems use its form. `instead` is the placeholder of this service for the same field, if there is one."""

    text: str
    system: str
    line: int
    count: int
    instead: str | None


def find_merge_tags(source: str, *, html: bool = False, is_template: bool = True) -> list[MergeTag]:
    """The different merge tags in a text, in order of their first appearance, in linear time.

    In HTML they are looked for where a reader can see them or follow them: in texts, in addresses, and in conditional
    comments for Outlook; not in styles, scripts and code. In a text that is no template, a placeholder of this service
    is not replaced either, so it is reported too.
    """
    masked = Masked(source) if is_template else None
    text, restored = (source, str) if masked is None else (masked.text, masked.restored)
    found: dict[str, MergeTag] = {}
    position, line = 0, 1
    for start, tag in _in_html(text) if html else _in_text(text):
        # The tags come in order, so the text is read once for all lines.
        line += restored(text[position:start]).count("\n")
        position = max(position, start)
        written = one_line(restored(tag.text))
        known = found.get(written)
        if known is None:
            found[written] = MergeTag(_shortened(written), tag.system, line, 1, _instead(written))
        else:
            known.count += 1
    return list(found.values())


def _in_text(text: str) -> Iterator[tuple[int, Tag]]:
    for tag in tags_in_text(_without_code(text)):
        yield tag.start, tag


def _without_code(text: str) -> str:
    """The text in which code, between backticks as in Markdown, is replaced by as many blanks and line ends."""
    if "`" not in text:
        return text
    parts = text.split(_FENCE)
    # Without an end, the last fence starts no code.
    fenced = range(1, len(parts) - 1, 2)
    parts = [_blank(part) if at in fenced else _INLINE_CODE.sub(_blanked, part) for at, part in enumerate(parts)]
    return "   ".join(parts)


def _blanked(code: re.Match[str]) -> str:
    return _blank(code[0])


def _blank(code: str) -> str:
    return "\n".join(" " * len(line) for line in code.split("\n"))


def _in_html(html: str, *, in_comment: bool = False) -> Iterator[tuple[int, Tag]]:
    code = 0
    for token in tokens(html):
        source = html[token.start : token.end]
        if token.kind is Kind.TEXT or (token.kind is Kind.HIDDEN and token.name in _SHOWN_RAW_TEXT):
            if not code:
                yield from _in_encoded(source, token.start)
        elif token.kind is Kind.HIDDEN and not in_comment and (comment := _CONDITIONAL.match(source)):
            inside = comment.end()
            for start, tag in _in_html(source[inside:].removesuffix("<![endif]-->"), in_comment=True):
                yield token.start + inside + start, tag
        elif token.kind is Kind.OPEN:
            code += token.name in _CODE
            yield from _in_attributes(token)
        elif token.kind is Kind.CLOSE and token.name in _CODE:
            code = max(0, code - 1)


def _in_encoded(source: str, start: int) -> Iterator[tuple[int, Tag]]:
    """The tags in a text with character references, each at the start of its line. After a reference to a line end, the
    lines are not known any more, and the tag is at the start of the text."""
    text = _without_code(unescape(source))
    tags = tags_in_text(text)
    if tags:
        ends, written_ends = ([found.start() for found in _LINE_END.finditer(one)] for one in (text, source))
        for tag in tags:
            line = bisect_left(ends, tag.start) if len(ends) == len(written_ends) else 0
            yield start + (written_ends[line - 1] + 1 if line else 0), tag


def _in_attributes(token: Token) -> Iterator[tuple[int, Tag]]:
    offset = token.end - 1 - len(token.attributes)
    for attribute in read_attributes(token.attributes):
        value = token.attributes[attribute.start : attribute.end]
        if attribute.name in _ADDRESSES:
            tags = _tags_in_address(parse_href(value))
        elif attribute.name in _TEXTS:
            tags = tags_in_text(unescape(value))
        else:
            continue
        for tag in tags:
            yield offset + attribute.start, tag


def _tags_in_address(address: str) -> list[Tag]:
    tags = tags_in_address(address)
    # Editors encode the signs of a tag in an address: `*%7CEMAIL%7C*`.
    return tags or (tags_in_address(unquote(address)) if _ENCODED.search(address) else [])


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


_PLACEHOLDERS = {
    "first": "firstName",
    "first name": "firstName",
    "firstname": "firstName",
    "fname": "firstName",
    "last": "lastName",
    "last name": "lastName",
    "lastname": "lastName",
    "lname": "lastName",
    "surname": "lastName",
    "company": "companyName",
    "company name": "companyName",
    "companyname": "companyName",
    "email": "email",
    "email address": "email",
    "emailaddress": "email",
    "emailaddr": "email",
}
_OF_A_CONTACT = re.compile(r"\A(?:your|contact|subscriber|recipient|customer|user|lead|person|member) ")


def _instead(tag: str) -> str | None:
    field = names_field(tag)
    return None if field is None else _PLACEHOLDERS.get(_OF_A_CONTACT.sub("", field))
