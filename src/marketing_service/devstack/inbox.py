"""The inbox: an SMTP server that keeps what it is given, for people and tests to read.

Recipients whose local part starts with one of these words are treated specially:

    reject-550   refused for good at RCPT: 550 5.1.1
    defer-451    refused for now at RCPT, twice: 451 4.7.1; the third attempt is accepted, and the next message
                 to that address is deferred twice again
    drop         the connection is closed after the final dot, without an answer. The message is kept, so that
                 the sender truly cannot know
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.policy import compat32
from email.utils import parseaddr
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from email.message import Message

    from aiosmtpd.smtp import Envelope, Session

_REJECTED, _DEFERRED, _DROPPED = "reject-550", "defer-451", "drop"
_DEFERRALS = 2
_LARGEST_MESSAGE = 10 * 1024 * 1024


@dataclass(frozen=True)
class KeptMessage:
    """A message as it came: the envelope, when, and the source with every octet."""

    id: str
    sender: str
    recipients: tuple[str, ...]
    received_at: datetime
    source: bytes = field(repr=False)

    def parsed(self) -> Message:
        # The newer policies parse every header by its grammar, and take four times as long.
        return message_from_bytes(self.source, policy=compat32)

    @cached_property
    def item(self) -> dict[str, Any]:
        """What the HTTP API says of it; `headers` are pairs, in their order, repeated ones too."""
        parsed = self.parsed()
        return {
            "id": self.id,
            "from": parseaddr(header(parsed, "From"))[1] or self.sender,
            "to": ", ".join(self.recipients),
            "subject": header(parsed, "Subject"),
            "headers": [[name, _readable(value)] for name, value in parsed.items()],
            "text": body(parsed, "text/plain"),
            "html": body(parsed, "text/html"),
            "envelopeFrom": self.sender,
            "receivedAt": self.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }


class Inbox:
    """The newest messages, in memory: at most so many, of at most so many bytes together."""

    def __init__(self, *, most_messages: int = 20_000, most_bytes: int = 128 * 1024 * 1024) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._messages: OrderedDict[str, KeptMessage] = OrderedDict()

    def keep(self, sender: str, recipients: Sequence[str], source: bytes) -> KeptMessage:
        """Keep a message, forgetting the oldest where there are too many."""
        # Octets that are no UTF-8 come as surrogates, which no page or JSON could show.
        addresses = [address.encode("utf-8", "replace").decode() for address in (sender, *recipients)]
        number = str(next(self._numbers))
        message = KeptMessage(number, addresses[0], tuple(addresses[1:]), datetime.now(UTC), source)
        self._messages[message.id] = message
        self._bytes += len(source)
        while len(self._messages) > self._most_messages or self._bytes > self._most_bytes:
            _, oldest = self._messages.popitem(last=False)
            self._bytes -= len(oldest.source)
        return message

    def newest(self, to: str | None = None) -> Iterator[KeptMessage]:
        """The messages, newest first; with `to` only those for that address, however it is capitalised."""
        wanted = to and to.casefold()
        for message in reversed(list(self._messages.values())):
            if not wanted or wanted in (recipient.casefold() for recipient in message.recipients):
                yield message

    def get(self, message_id: str) -> KeptMessage | None:
        return self._messages.get(message_id)

    def clear(self) -> None:
        """Forget every message."""
        self._messages.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)


async def serve_inbox(inbox: Inbox, port: int) -> asyncio.Server:
    """Take mail for the inbox on a loopback port; 0 takes any free one."""
    loop = asyncio.get_running_loop()
    rules = _Rules(inbox)

    def conversation() -> SMTP:
        return SMTP(
            rules,
            data_size_limit=_LARGEST_MESSAGE,
            enable_SMTPUTF8=True,
            hostname="inbox.localhost",
            ident="ESMTP inbox",
            loop=loop,
        )

    return await loop.create_server(conversation, "127.0.0.1", port)


class _Rules:
    """What aiosmtpd asks us in every conversation; it finds these methods by their names."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._deferrals: Counter[str] = Counter()

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, replies: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # It answers in order and reads on from the same buffer, which is all that RFC 2920 §3.2 asks of a server.
        return [*replies[:-1], "250-PIPELINING", replies[-1]]

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        local_part = address.casefold()
        if local_part.startswith(_REJECTED):
            return f"550 5.1.1 <{address}>: recipient address rejected: user unknown"
        if local_part.startswith(_DEFERRED) and self._deferrals[local_part] < _DEFERRALS:
            self._deferrals[local_part] += 1
            return f"451 4.7.1 <{address}>: greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        for recipient in envelope.rcpt_tos:
            self._deferrals.pop(recipient.casefold(), None)
        source = envelope.original_content or b""
        message = self._inbox.keep(envelope.mail_from or "", envelope.rcpt_tos, source)
        if any(recipient.casefold().startswith(_DROPPED) for recipient in envelope.rcpt_tos):
            assert server.transport is not None  # noqa: S101 - a conversation has one
            server.transport.close()
            # Never answer: the end of the connection cancels this conversation.
            await asyncio.get_running_loop().create_future()
        return f"250 2.0.0 OK: kept as {message.id}"


def header(message: Message, name: str) -> str:
    """A header's value as a reader sees it: unfolded, encoded words decoded; empty where there is none."""
    return _readable(message.get(name, ""))


def body(message: Message, content_type: str) -> str | None:
    """The text of the first part of that type, with LF line ends; None where it has none."""
    for part in message.walk():
        if part.get_content_type() == content_type:
            octets = part.get_payload(decode=True)
            if isinstance(octets, bytes):
                return _decoded(octets, part.get_content_charset() or "utf-8").replace("\r\n", "\n")
    return None


def _readable(value: object) -> str:
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", str(value))
    if "=?" not in unfolded:
        return unfolded
    try:
        return str(make_header(decode_header(unfolded)))
    except (HeaderParseError, LookupError, ValueError):
        return unfolded


def _decoded(octets: bytes, charset: str) -> str:
    try:
        return octets.decode(charset, errors="replace")
    except LookupError:
        return octets.decode("utf-8", errors="replace")
