"""The lines of a human-readable text that give the reason for one address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from marketing_service.reports.parts import Part

# The line that starts the original message. Its text is not part of the report.
_ORIGINAL = re.compile(
    r"^[-=_* ]{0,20}(?:this is a copy of|(?:below this line is )?a copy of|copy of your message|"
    r"original message|(?:the )?(?:body|header) of the message|(?:the )?unsent message|return-path:|received: from )",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<[a-z/!][^<>@]{0,2000}>", re.IGNORECASE)
_ADDRESS = re.compile(r"[ \t<*'\"]{0,20}([^\s<>\"':;,()]{1,200}@[^\s<>\"':;,()]{1,255})")
_MAX_LINES = 12
_TEXTS = frozenset({"text/plain", "text/html"})


def text_of(parts: Iterable[Part]) -> str:
    """The human-readable text, without tags."""
    return "\n".join(
        _TAG.sub(" ", part.text) if part.type == "text/html" else part.text for part in parts if part.type in _TEXTS
    )


def lines_before_original(text: str) -> list[str]:
    """The lines of the report itself."""
    original = _ORIGINAL.search(text)
    return text[: original.start() if original else len(text)].splitlines()


class Paragraphs:
    """The lines of a text that begin with an address, with those that follow up to the next blank line.

    So Postfix, Exim, sendmail, qmail, OpenSMTPD and Exchange write the reason for an address.
    """

    def __init__(self, text: str) -> None:
        self.lines = lines_before_original(text)
        self._places: dict[str, int] = {}
        for place, line in enumerate(self.lines):
            found = _ADDRESS.match(line)
            if found is not None:
                self._places.setdefault(found[1].lower(), place)

    def of(self, addresses: Sequence[str]) -> str:
        """The lines of the first of the addresses that has some; empty if there are none, or if they give no reason."""
        for address in addresses:
            place = self._places.get(address.lower())
            if place is not None:
                return self._from(place)
        return ""

    def _from(self, place: int) -> str:
        paragraph: list[str] = []
        for line in self.lines[place : place + _MAX_LINES]:
            if not line.strip():
                break
            paragraph.append(line)
        gives_reason = len(paragraph) > 1 or ":" in paragraph[0]
        return "\n".join(paragraph) if gives_reason else ""


def lines_near_addresses(text: str, addresses: Sequence[str]) -> tuple[str, bool]:
    """The lines that probably give the reason, and whether one of them names an address.

    A line that begins with an address is preferred to one that only mentions it. If no line does, these are the first
    lines of the text.
    """
    lines = lines_before_original(text)
    wanted = tuple(address.lower() for address in addresses)
    places = [place for place, line in enumerate(lines) if any(address in line.lower() for address in wanted)]
    starts = [place for place in places if lines[place].lower().lstrip(" \t<").startswith(wanted)]
    place = (starts or places or [0])[0]
    return "\n".join(lines[place : place + _MAX_LINES]), bool(places)
