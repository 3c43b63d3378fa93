"""The relay: envelopes, submissions and their outcomes, and the pool of connections."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from marketing_service.replies import Phase

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.replies import Reply

_PERMANENT = 500


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message for one recipient.

    `content` has CRLF line ends and no other CR or LF. Its dots are not doubled yet. It is 8-bit (RFC 6152) only for a
    connection that accepts 8-bit content.
    """

    sender: str
    recipient: str
    content: bytes = field(repr=False)


class SubmissionOutcome(StrEnum):
    """The result of a submission."""

    ACCEPTED = "ACCEPTED"
    """The relay replied with 250 to the final dot: it is responsible for the message."""
    REFUSED = "REFUSED"
    """The relay replied with 4xx or 5xx: it has not accepted the message."""
    NOT_BEGUN = "NOT_BEGUN"
    """The connection was not usable, and the relay did not reply to this envelope. The send counts as never marked."""
    LOST = "LOST"
    """The connection was lost before the write with the final dot: the message is certainly not accepted."""
    UNKNOWN = "UNKNOWN"
    """The connection was lost or timed out after this write started, before the reply: it may be accepted."""


class Submission(NamedTuple):
    """The result of submitting one envelope. `reply` is set if it was REFUSED, `detail` if there was no reply."""

    outcome: SubmissionOutcome
    phase: Phase
    reply: Reply | None = None
    detail: str | None = None


class RelayDown(Exception):
    """No connection could be opened: connect, banner, EHLO, TLS or log-in failed. No message was submitted."""

    def __init__(self, phase: Phase, detail: str, reply: Reply | None = None) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail
        self.reply = reply
        """The relay's negative reply, if it gave one."""

    @property
    def refuses_login(self) -> bool:
        """Whether the relay refused the user name and password (RFC 4954 §6), or requires them."""
        return self.phase is Phase.AUTH and self.reply is not None and self.reply.code >= _PERMANENT


class MailConnection(Protocol):
    """An open connection to the relay. At most one final dot is unanswered on it at any time."""

    @property
    def usable(self) -> bool:
        """Whether it can take another envelope. Once false, always false."""
        ...

    @property
    def eight_bit(self) -> bool:
        """Whether it accepts 8-bit content (RFC 6152)."""
        ...

    @property
    def accepted(self) -> int:
        """How many messages the relay has accepted on it."""
        ...

    def retire(self) -> None:
        """Take no further envelope. An envelope that is already sent to the relay is finished."""
        ...

    async def submit(self, envelope: Envelope) -> Submission:
        """Submit the envelope and return the result. No behaviour of the relay raises an error.

        Only one call at a time is allowed. If the call is cancelled, the connection is closed.
        """
        ...

    def announce(self, envelope: Envelope) -> None:
        """Name the envelope that is submitted next. Its send must already be marked.

        Its MAIL, RCPT and DATA may be sent at once, after the message that is being submitted (RFC 2920).
        """
        ...


class SizeLimit(NamedTuple):
    """The largest message that the relay accepts, in octets (SIZE, RFC 1870 §4), or None if it does not say; and
    whether it accepts 8-bit content, which makes messages shorter (8BITMIME, RFC 6152)."""

    octets: int | None
    eight_bit: bool


class Mailer(Protocol):
    """The pool of connections to the relay."""

    @property
    def connections_open(self) -> int:
        """Number of open connections."""
        ...

    @property
    def is_waited_for(self) -> bool:
        """Whether a borrower waits for a connection, or more connections are open than the relay allows now."""
        ...

    @property
    def capacity(self) -> RelayCapacity:
        """What this process has learned about the relay's limits."""
        ...

    def connection(self) -> AbstractAsyncContextManager[MailConnection]:
        """Borrow a connection, waiting for a free one. Raises RelayDown."""
        ...

    async def probe(self, sender: str | None = None) -> Reply | None:
        """Open a connection, name `sender` in a MAIL command if there is one, and close the connection. Returns the
        reply that refuses the sender, if any. Raises RelayDown."""
        ...

    async def message_size_limit(self) -> SizeLimit:
        """What the relay says now about the size of messages. Opens a connection, unless one was opened in the last ten
        seconds. Raises RelayDown."""
        ...
