"""The size of messages, as a relay counts it (RFC 1870 §3): all octets, with CRLF line ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.rendering.message import RecipientData
from marketing_service.rendering.template import SAMPLE, NotRenderable

if TYPE_CHECKING:
    from marketing_service.rendering.message import CompiledMessage, MessageSource
    from marketing_service.rendering.template import MergeFields

TOKEN_LENGTH = 43
"""Characters of the longest token in a link."""
_MAX_RENDERED = 200_000_000
"""Octets that are rendered to find the largest message, which takes a second or two."""


def message_octets(message: CompiledMessage, fields: MergeFields, *, eight_bit: bool) -> int:
    """The size of the message for a contact with these fields. `eight_bit`: whether the relay accepts 8-bit content,
    which is shorter. Raises NotRenderable."""
    token = "x" * TOKEN_LENGTH
    recipient = RecipientData(UUID(int=0), fields, datetime.fromtimestamp(0, UTC), token, token, token)
    return len(message.render(recipient, eight_bit=eight_bit))


class LargestMessage:
    """Finds the size of the largest message of a campaign, in bounded time.

    Up to 200 MB, the message is rendered for every contact. After that only for a contact whose values are longer than
    those of all contacts before.
    """

    def __init__(self, message: CompiledMessage, *, eight_bit: bool, max_rendered: int = _MAX_RENDERED) -> None:
        """Starts with the sample contact. Raises NotRenderable."""
        self._max_rendered = max_rendered
        self.eight_bit = eight_bit
        self.octets = message_octets(message, SAMPLE, eight_bit=eight_bit)
        self._message = message
        self._rendered = 0
        self._longest_values = 0

    def add(self, fields: MergeFields) -> None:
        """Consider this contact, if a message can be made for it."""
        values = sum(len(value.encode("utf-8", "replace")) for value in fields if value)
        if self._rendered > self._max_rendered and values <= self._longest_values:
            return
        self._longest_values = max(self._longest_values, values)
        try:
            octets = message_octets(self._message, fields, eight_bit=self.eight_bit)
        except NotRenderable:
            return
        self._rendered += octets
        self.octets = max(self.octets, octets)


def size_problem(octets: int, limit: int) -> str:
    """What is wrong with a message that is larger than the relay's limit, and what to do, with both sizes."""
    return (
        f"The largest message has {octets:,} octets ({octets / 1e6:,.1f} MB), but the relay accepts at most {limit:,} "
        f"({limit / 1e6:,.1f} MB). Make the message shorter, or let the relay's operator raise its limit."
    )


def larger_body(source: MessageSource) -> str:
    """The field of the body that is longer: the first one to shorten."""
    return "htmlBody" if len(source.html_body or "") >= len(source.text_body or "") else "textBody"
