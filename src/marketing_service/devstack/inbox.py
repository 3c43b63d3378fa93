"""The inbox: an SMTP server that stores each message in memory, for people and tests to read.

Recipients whose local part starts with one of these words get a special reply:

    reject-550   permanent error at RCPT: 550 5.1.1
    defer-451    temporary error at RCPT, twice: 451 4.7.1. The third try is accepted. The next message to that
                 address is deferred twice again
    drop         the connection is closed after the final dot, without a reply. The message is stored, so the
                 sender cannot tell whether it was accepted
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
_MAX_MESSAGE_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class ReceivedMessage:
    """A message as received: the envelope, the time, and the source with all its octets."""

    id: str
    sender: str
    recipients: tuple[str, ...]
    received_at: datetime
    source: bytes = field(repr=False)

    def parsed(self) -> Message:
        # The newer policies parse each header by its grammar, which takes four times as long.
        return message_from_bytes(self.source, policy=compat32)

    @cached_property
    def item(self) -> dict[str, Any]:
        """The message as the HTTP API returns it. `headers` are (name, value) pairs in the original order."""
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
    """The newest messages, in memory: at most `max_messages`, with at most `max_bytes` in total."""

    def __init__(self, *, max_messages: int = 20_000, max_bytes: int = 128 * 1024 * 1024) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._messages: OrderedDict[str, ReceivedMessage] = OrderedDict()

    def add(self, sender: str, recipients: Sequence[str], source: bytes) -> ReceivedMessage:
        """Stores a message. Deletes the oldest ones while there are too many."""
        # aiosmtpd gives octets that are not UTF-8 as surrogates. HTML and JSON cannot contain surrogates.
        addresses = [address.encode("utf-8", "replace").decode() for address in (sender, *recipients)]
        number = str(next(self._numbers))
        message = ReceivedMessage(number, addresses[0], tuple(addresses[1:]), datetime.now(UTC), source)
        self._messages[message.id] = message
        self._bytes += len(source)
        while len(self._messages) > self._max_messages or self._bytes > self._max_bytes:
            _, oldest = self._messages.popitem(last=False)
            self._bytes -= len(oldest.source)
        return message

    def newest(self, to: str | None = None) -> Iterator[ReceivedMessage]:
        """The messages, newest first. With `to`, only those to that address; the comparison ignores case."""
        address = to and to.casefold()
        for message in reversed(list(self._messages.values())):
            if not address or address in (recipient.casefold() for recipient in message.recipients):
                yield message

    def get(self, message_id: str) -> ReceivedMessage | None:
        return self._messages.get(message_id)

    def clear(self) -> None:
        """Deletes all messages."""
        self._messages.clear()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)


async def serve_inbox(inbox: Inbox, port: int) -> asyncio.Server:
    """Starts the inbox's SMTP server on a loopback port; 0 means any free one."""
    loop = asyncio.get_running_loop()
    handler = _SmtpHandler(inbox)

    def new_session() -> SMTP:
        return SMTP(
            handler,
            data_size_limit=_MAX_MESSAGE_BYTES,
            enable_SMTPUTF8=True,
            hostname="inbox.localhost",
            ident="ESMTP inbox",
            loop=loop,
        )

    return await loop.create_server(new_session, "127.0.0.1", port)


class _SmtpHandler:
    """The handler of the SMTP commands. aiosmtpd finds these methods by their names."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._deferrals: Counter[str] = Counter()

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, hostname: str, replies: list[str]
    ) -> list[str]:
        session.host_name = hostname
        # aiosmtpd replies in order and keeps unread commands in its buffer. RFC 2920 §3.2 demands no more of a server.
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
        message = self._inbox.add(envelope.mail_from or "", envelope.rcpt_tos, source)
        if any(recipient.casefold().startswith(_DROPPED) for recipient in envelope.rcpt_tos):
            assert server.transport is not None  # noqa: S101 - a session has one
            server.transport.close()
            # Never reply: the end of the connection cancels this task.
            await asyncio.get_running_loop().create_future()
        return f"250 2.0.0 OK: stored as {message.id}"


def header(message: Message, name: str) -> str:
    """A header's value, unfolded and with its encoded words decoded. Empty if the header is missing."""
    return _readable(message.get(name, ""))


def body(message: Message, content_type: str) -> str | None:
    """The text of the first part with this content type, with LF line ends. None if there is no such part."""
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
