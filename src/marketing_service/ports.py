"""The small interfaces the use cases need, and the types they speak; the adapters stand above them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from marketing_service.replies import Phase, Reply

# ── the audience ─────────────────────────────────────────────────────────────────────────────────────


class AudienceType(StrEnum):
    ALL = "ALL"
    BY_STATUS = "BY_STATUS"


@dataclass(frozen=True, slots=True)
class Audience:
    """Everybody, or the contacts of at least one CRM status; never who opted out."""

    type: AudienceType = AudienceType.ALL
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contact:
    """A CRM record, as the CRM has it: nothing here is normalised or checked yet."""

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    status: str | None
    marketing_opt_out: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Contacts that are not mailed because of what the CRM says of them, each counted once."""

    opted_out: int
    without_address: int
    """Those who also opted out are not among them."""


@dataclass(frozen=True, slots=True)
class ContactStatus:
    value: str
    label: str


@dataclass(frozen=True, slots=True)
class ContactPage:
    """Some contacts of an audience, and when we asked for them (an opt-out confirmed later outweighs them)."""

    contacts: Sequence[Contact]
    asked_at: datetime


class AudienceError(Exception):
    """The audience cannot be read."""


class AudienceUnavailable(AudienceError):
    """It does not answer, or says to come back: worth another try. `retry_after` in seconds, where it said so."""

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class AudienceRefused(AudienceError):
    """It answered with a definite no (a 4xx other than 408 and 429): another try would not help."""


class AudienceSource(Protocol):
    """Where contacts come from. Every call raises AudienceUnavailable or AudienceRefused."""

    def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """Every contact with an address, not opted out, of the audience's statuses. Each page is retried by
        itself for a short while. Contacts may come twice where the CRM changes while it is read. Close it (`aclosing`)
        when leaving early."""
        ...

    async def count(self, org_id: str, audience: Audience) -> int:
        """How many contacts `pages` would give now."""
        ...

    async def sample(self, org_id: str, audience: Audience, most: int) -> list[Contact]:
        """Up to `most` (at most 1,000) of the contacts `pages` would give, for somebody who waits."""
        ...

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """How many contacts of the audience's statuses `pages` does not give, and why."""
        ...

    async def contact(self, org_id: str, contact_id: str) -> Contact | None:
        """One contact, or None where there is none."""
        ...

    async def contacts_with_email(self, org_id: str, email: str) -> list[Contact]:
        """Every contact with this address, opted out or not."""
        ...

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """Set the contact's marketingOptOut. False where there is no such contact."""
        ...

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """The statuses a contact can have, in the CRM's order."""
        ...

    async def probe(self) -> None:
        """Find out whether it answers at all."""
        ...


# ── the names of the internet ────────────────────────────────────────────────────────────────────────


class NamesUnavailable(Exception):
    """The DNS does not answer, or not in a way that says anything."""


class TextRecords(Protocol):
    """Looks text records up in the DNS."""

    async def texts(self, name: str) -> list[str]:
        """The TXT records (RFC 1035 §3.3.14) of a name, each in one piece; none where there is no such name.
        Raises NamesUnavailable."""
        ...


# ── the relay ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message for one recipient. `content`: CRLF line ends and no other CR or LF, dots not yet doubled, and 8-bit
    (RFC 6152) only for a connection that takes it."""

    sender: str
    recipient: str
    content: bytes = field(repr=False)


class SubmissionOutcome(StrEnum):
    """How far a hand-over came."""

    ACCEPTED = "ACCEPTED"
    """A final 250: the relay took responsibility."""
    REFUSED = "REFUSED"
    """A definite 4xx or 5xx: the relay has not taken it."""
    NOT_BEGUN = "NOT_BEGUN"
    """The connection was of no more use, and the relay had said nothing about this envelope: as if never marked."""
    LOST = "LOST"
    """The connection was lost before the write that contained the final dot: certainly not handed over."""
    UNKNOWN = "UNKNOWN"
    """The connection was lost, or timed out, after that write began and before the reply: nobody can tell."""


class Submission(NamedTuple):
    """What became of one envelope. `reply` is there when REFUSED, `detail` when there was none."""

    outcome: SubmissionOutcome
    phase: Phase
    reply: Reply | None = None
    detail: str | None = None


class RelayDown(Exception):
    """No connection could be had: connect, banner, EHLO, TLS or log-in failed, so nobody's mail was touched."""

    def __init__(self, phase: Phase, detail: str) -> None:
        super().__init__(detail)
        self.phase = phase
        self.detail = detail


class MailConnection(Protocol):
    """One ready connection to the relay; at most one final dot is ever unanswered on it."""

    @property
    def usable(self) -> bool:
        """Whether it can take another envelope. Once false, always false."""
        ...

    @property
    def eight_bit(self) -> bool:
        """Whether it takes 8-bit content (RFC 6152)."""
        ...

    async def submit(self, envelope: Envelope) -> Submission:
        """Hand `envelope` over and return what became of it; never raises for what the relay does.

        One at a time. Cancelled, the connection is closed.
        """
        ...

    def announce(self, envelope: Envelope) -> None:
        """Say which envelope is handed over next; it must already be marked.

        Its MAIL, RCPT and DATA may travel at once, behind the message that is being handed over (RFC 2920).
        """
        ...


class Mailer(Protocol):
    """The pool of connections to the relay."""

    @property
    def connections_open(self) -> int: ...

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a connection that is in use."""
        ...

    def connection(self) -> AbstractAsyncContextManager[MailConnection]:
        """Borrow a connection, waiting for a free one. Raises RelayDown."""
        ...

    async def probe(self) -> None:
        """Open a connection and close it again. Raises RelayDown."""
        ...


# ── the rates ────────────────────────────────────────────────────────────────────────────────────────


class Rate(NamedTuple):
    """At most `messages` messages within any period of `seconds` seconds."""

    messages: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many messages may be submitted now. If `granted` is less than requested, `wait` is the number of seconds
    after which to request the others."""

    granted: int
    wait: float = 0.0


class RateLimiter(Protocol):
    """Counts the messages that all workers together submit to the relay, in total and for each organisation."""

    async def take(self, org_id: str, wanted: int) -> Allowance:
        """Count up to `wanted` messages of an organisation as submitted now: as many as every limit allows.

        Raises Unavailable if the limiter does not answer. Then no message may be submitted.
        """
        ...


# ── the job queue ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class QueuedBatch:
    """A batch for a worker to send.

    `enqueue_count` is how often the batch has been enqueued. It makes each job's id unique, because a queue may
    remember an old job and drop a new one with the same id. `ahead` is the number of batches of the same campaign
    that are in the queue before this one: the fewer, the sooner the batch is worked on.
    """

    campaign_id: UUID
    number: int
    enqueue_count: int
    ahead: int = 0


class JobQueue(Protocol):
    """Tells workers that something is due. A job carries only ids. A lost job does no harm: the sweep enqueues it
    again.

    `epoch` is the number of the last claim of the expansion or preflight; it makes the job's id unique (see
    QueuedBatch). Every method raises Unavailable if the queue does not answer.
    """

    async def enqueue_expansion(self, campaign_id: UUID, epoch: int) -> None: ...

    async def enqueue_batches(self, queued: Sequence[QueuedBatch]) -> None: ...

    async def enqueue_preflight(self, campaign_id: UUID, epoch: int) -> None: ...

    async def enqueue_test_mail(self, test_mail_id: UUID) -> None: ...

    async def enqueue_opt_outs(self) -> None: ...
