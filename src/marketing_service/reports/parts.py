"""The MIME parts of a message, parsed within bounds on time and nesting.

`message/*` is treated as text, not as a container: some systems encode the fields of a delivery report, and of the
original message that a report contains only the header is needed. So only multiparts can nest, and a report has few.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import compat32
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

_MESSAGE_TYPE = re.compile(rb"^(content-type:\s{0,80})message/", re.IGNORECASE | re.MULTILINE)
_TEXT_TYPE = "text/x-message-"
_BOUNDARY = re.compile(rb"\bboundary(?:\*\d{0,3}\*?)?\s{0,9}=", re.IGNORECASE)
_MAX_BOUNDARIES = 20
# Python's parser takes quadratic time for the parameters of a header.
_PARAMETERS = re.compile(rb"^content-[a-z-]{1,30}:(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)
_MAX_PARAMETERS = 4000
_HEADER_END = re.compile(r"\r?\n[ \t]*\r?\n")
_MAX_HEADER = 64_000


class Unreadable(Exception):
    """The message would take too long to parse. No real report looks like this."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that contains no other parts: its media type as the sender wrote it, and its decoded text."""

    type: str
    text: str

    @property
    def is_original(self) -> bool:
        """Whether it is a message, or the header of one (RFC 3462, RFC 6522 §3, RFC 6533)."""
        return self.type in _ORIGINALS


_ORIGINALS = frozenset(
    {"message/rfc822", "message/global", "message/rfc822-headers", "message/global-headers", "text/rfc822-headers"}
)


def parse(raw: bytes) -> Message:
    """The parsed message. Raises Unreadable."""
    if sum(1 for _ in _BOUNDARY.finditer(raw)) > _MAX_BOUNDARIES:
        raise Unreadable("too many multiparts")
    if any(len(found[1]) > _MAX_PARAMETERS for found in _PARAMETERS.finditer(raw)):
        raise Unreadable("a header with too many parameters")
    return message_from_bytes(_MESSAGE_TYPE.sub(rb"\1" + _TEXT_TYPE.encode(), raw), policy=compat32)


def parts(message: Message) -> Iterator[Part]:
    """The parts that contain no other parts, in their order."""
    for part in message.walk():
        if not part.is_multipart():
            written = part.get_content_type()
            kind = "message/" + written.removeprefix(_TEXT_TYPE) if written.startswith(_TEXT_TYPE) else written
            yield Part(kind, _text(part))


def header_of(text: str) -> str:
    """The header of a message given as text, unfolded, with LF at its line ends."""
    end = _HEADER_END.search(text, 0, _MAX_HEADER)
    return _unfolded(text[: end.start() if end else _MAX_HEADER])


def fields(block: str) -> dict[str, str]:
    """The fields of a block or header, unfolded: name in lower case → value. The first of repeated fields is used."""
    return dict(reversed(all_fields(block)))


def all_fields(block: str) -> list[tuple[str, str]]:
    """The fields of a block or header in their order, unfolded: name in lower case, value. Fields can be repeated."""
    found = []
    for line in _unfolded(block).split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.append((name.strip().lower(), value.strip()))
    return found


def _unfolded(text: str) -> str:
    """The text with folded lines joined (RFC 5322 §2.2.3) and LF line ends."""
    return re.sub(r"\n(?=[ \t])", "", text.replace("\r\n", "\n"))


def _text(part: Message) -> str:
    octets = part.get_payload(decode=True)
    if not isinstance(octets, bytes):
        return ""
    charset = part.get_content_charset() or "utf-8"
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")
