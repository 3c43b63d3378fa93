"""Derives the missing body of a message from the template of the other one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import escape

from marketing_service.rendering.character_references import unescape
from marketing_service.rendering.hrefs import parse_href, plain_address
from marketing_service.rendering.masking import ADDRESS_END, ADDRESS_START, OUTPUT, TAG, Masked, block_around, tags_in
from marketing_service.rendering.tokenizer import Kind, first_attribute, tokens
from marketing_service.rendering.visibility import HiddenElement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marketing_service.rendering.tokenizer import Token

# ── a text from HTML ─────────────────────────────────────────────────────────────────────────────────

_LISTS = {"ol", "ul"}
_PARAGRAPHS = {"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "p", "pre", "table"} | _LISTS
_LINES = {"address", "article", "aside", "body", "center", "dd", "div", "dt", "fieldset", "figcaption", "figure"}
_LINES |= {"footer", "form", "header", "html", "li", "main", "nav", "section", "tr"}
_CELLS = {"td", "th"}
_LIQUID = re.compile(f"({OUTPUT}|{TAG})")
_OUTPUT = re.compile(OUTPUT)
_TAG = re.compile(TAG)
_SCHEME = re.compile(r"\A(?:mailto|tel):", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r\f]++")
# Authors fill the preview line with these invisible characters. They are not useful in a text.
_PADDING = re.compile("[\\s\u00ad\u034f\u200b-\u200f\u2007\ufeff]{4,}+|[\u00a0\u2007]")

_MAX_INDENTED = 8
"""Levels of nested lists that are indented. Deeper items have the same indentation, so that the text stays in
proportion to the HTML."""


def text_from_html(source: str) -> tuple[str, bool]:
    """A plain-text template with the same placeholders and tags, and whether it has tags.

    A tag that renders nothing can leave blank lines. So the rendered text of a template with tags needs
    `collapse_whitespace`.
    """
    masked = Masked(source)
    text = _Text(masked).made()
    return masked.restored(text.strip()), masked.has_tags


_NOTHING = slice(0, 0)


class _Text:
    """Builds the text of a page: what a reader sees, with links, lists and paragraphs marked."""

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._has_tags = masked.has_tags
        self._out: list[str] = []
        self._newlines = 0
        self._space = False
        self._hidden = HiddenElement()
        self._preformatted = 0
        self._lists: list[int | None] = []
        self._link: tuple[str, int] | None = None

    def made(self) -> str:
        for token in tokens(self._masked.text):
            source = self._masked.text[token.start : token.end]
            if token.kind is Kind.HIDDEN or token.kind is Kind.UNCLOSED:
                self._put_tags(source)
            elif token.kind is Kind.TEXT:
                self._put_text(source)
            elif token.kind is Kind.OPEN:
                self._open(token)
            else:
                self._close(token)
        self._end_link()
        return "".join(self._out)

    def _open(self, token: Token) -> None:
        shown = _NOTHING
        if self._hidden.open(token.name):
            self._break(token.name)
            shown = self._begin(token)
        if token.attributes:
            self._put_tags(token.attributes[: shown.start] + token.attributes[shown.stop :])

    def _begin(self, token: Token) -> slice:
        """Add what the element shows at its start. Returns the part of its attributes that is shown."""
        if token.name == "br":
            self._newlines = min(self._newlines + 1, 2)
        elif token.name in _LISTS:
            self._lists.append(0 if token.name == "ol" else None)
        elif token.name == "li":
            self._put(self._bullet())
            self._space = False
        elif token.name == "pre":
            self._preformatted += 1
        elif token.name == "a":
            self._end_link()
            return self._begin_link(token)
        elif token.name == "img":
            place, alternative = self._certain(token.attributes, "alt")
            self._put_text(alternative)
            return place
        return _NOTHING

    def _certain(self, attributes: str, name: str) -> tuple[slice, str]:
        """The place and the value of the attribute, if it is the same or absent for every contact. A Liquid block
        that starts or ends in or before it can leave it out; then both are empty."""
        found = first_attribute(attributes, name)
        if found is None or not (
            self._masked.balanced(attributes[: found.start])
            and self._masked.balanced(value := attributes[found.start : found.end])
        ):
            return _NOTHING, ""
        return slice(found.start, found.end), value

    def _close(self, token: Token) -> None:
        if not self._hidden.close(token.name):
            return
        if token.name == "a":
            self._end_link()
        elif token.name in _LISTS and self._lists:
            self._lists.pop()
        elif token.name == "pre" and self._preformatted:
            self._preformatted -= 1
        self._break(token.name)

    def _break(self, name: str) -> None:
        if name in _PARAGRAPHS and not (name in _LISTS and self._lists):
            self._newlines = 2
        elif name in _LINES or name in _LISTS:
            self._newlines = max(self._newlines, 1)
        elif name in _CELLS:
            self._space = True

    def _bullet(self) -> str:
        indent = "  " * (min(len(self._lists), _MAX_INDENTED) - 1)
        if not self._lists or (number := self._lists[-1]) is None:
            return f"{indent}- "
        self._lists[-1] = number + 1
        return f"{indent}{number + 1}. "

    def _begin_link(self, token: Token) -> slice:
        place, written = self._certain(token.attributes, "href")
        address = parse_href(written)
        if address.startswith("#"):
            return _NOTHING
        self._link = (address, len(self._out))
        return place

    def _end_link(self) -> None:
        if self._link is None:
            return
        address, start = self._link
        self._link = None
        target = _SCHEME.sub("", plain_address(address))
        address = _SCHEME.sub("", address)
        shown = "".join(self._out[start:]).strip()
        if target and not any(self._masked.restored(shown) in self._spellings(one) for one in (address, target)):
            follows = self._newlines, self._space
            self._newlines, self._space = 0, True
            if _LIQUID.search(target):
                target = f"{ADDRESS_START}{target}{ADDRESS_END}"
            self._put(f"({target})" if shown else target)
            self._newlines, self._space = follows

    def _spellings(self, address: str) -> set[str]:
        """What the author may have written for the address."""
        written = self._masked.restored(address)
        return {written, written.rstrip("/"), written.partition("://")[2].rstrip("/")}

    def _put_text(self, source: str) -> None:
        if self._hidden.name is not None:
            self._put_tags(source)
            return
        for part in _LIQUID.split(source):
            if _TAG.fullmatch(part):
                self._put_tags(part)
            elif _OUTPUT.fullmatch(part):
                self._put(part)
            elif self._preformatted:
                self._put(unescape(part))
            else:
                self._put_words(_PADDING.sub(" ", unescape(part)))

    def _put_words(self, text: str) -> None:
        words = _SPACE.sub(" ", text)
        self._space |= words.startswith(" ")
        if words.strip(" "):
            self._put(words.strip(" "))
            self._space = words.endswith(" ")

    def _put_tags(self, source: str) -> None:
        if self._has_tags and (tags := tags_in(source)):
            self._flush()
            self._out.append(tags)

    def _put(self, text: str) -> None:
        if text:
            self._flush()
            self._out.append(text)

    def _flush(self) -> None:
        if self._newlines:
            self._out.append("\n" * self._newlines)
        elif self._space:
            self._out.append(" ")
        self._newlines, self._space = 0, False


# ── HTML from a text ─────────────────────────────────────────────────────────────────────────────────

_LINK = re.compile(f"https?://(?:[^\\s<>\"'{TAG[1:-1]}])++|{OUTPUT}")
_TRAILING = ".,;:!?)]}"
_BLANK_LINES = re.compile(r"\n[ \t]*+(?:\n[ \t]*+)++")

_PAGE_START = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
</head>
<body style="font-family: Arial, Helvetica, sans-serif; font-size: 16px; line-height: 1.5">
"""
_PAGE_END = """
</body>
</html>
"""


def html_from_text(source: str) -> str:
    """An HTML template that shows the text with its paragraphs, its line breaks, and its web addresses as links."""
    masked = Masked(source.strip("\n"))
    body = "\n".join(f"<p>{_lines(masked, paragraph)}</p>" for paragraph in _paragraphs(masked))
    return masked.restored(_PAGE_START + body + _PAGE_END)


def _paragraphs(masked: Masked) -> Iterator[str]:
    """The paragraphs between blank lines. A Liquid block that contains blank lines is not split."""
    blocks, start = masked.blocks(), 0
    for found in _BLANK_LINES.finditer(masked.text):
        if block_around(found.start(), blocks) is None:
            yield masked.text[start : found.start()]
            start = found.end()
    yield masked.text[start:]


def _lines(masked: Masked, text: str) -> str:
    parts, position = [], 0
    for found in _LINK.finditer(text):
        if _OUTPUT.fullmatch(found[0]) and not masked.is_unsubscribe_url(found[0]):
            continue
        address = found[0].rstrip(_TRAILING)
        end = found.start() + len(address)
        link = escape(address)
        parts += [escape(text[position : found.start()]), f'<a href="{link}">{link}</a>']
        position = end
    parts.append(escape(text[position:]))
    return "".join(parts).replace("\n", "<br>\n")
