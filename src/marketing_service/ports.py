"""The interfaces that the use cases need, and their types. The adapters implement them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from marketing_service.replies import Phase

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from uuid import UUID

    from marketing_service.addresses import MailboxKey
    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.replies import Reply

_PERMANENT = 500

# ── the audience ─────────────────────────────────────────────────────────────────────────────────────


class AudienceType(StrEnum):
    """How an audience selects contacts."""

    ALL = "ALL"
    BY_STATUS = "BY_STATUS"


@dataclass(frozen=True, slots=True)
class Audience:
    """All contacts, or the contacts that have one of some CRM statuses. Contacts who opted out never belong to it."""

    type: AudienceType = AudienceType.ALL
    statuses: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it selects by status and names none. The CRM would read a filter without a status as no filter."""
        return self.type is AudienceType.BY_STATUS and not self.statuses

    def includes(self, contact: Contact) -> bool:
        """Whether the contact has an address, has not opted out, and has one of the statuses."""
        return (
            bool(contact.email)
            and not contact.marketing_opt_out
            and (self.type is AudienceType.ALL or contact.status in self.statuses)
        )


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as the CRM returns it, not normalised or validated."""

    id: str
    email: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    status: str | None
    marketing_opt_out: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Numbers of contacts that the CRM's data excludes from an audience. Each contact is counted once."""

    opted_out: int
    without_address: int
    """Contacts without an address that have not opted out."""


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """A status that a contact can have in the CRM, and its label for users."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class ContactPage:
    """Some contacts of an audience, and the time of the request: an opt-out that is newer has priority over them."""

    contacts: Sequence[Contact]
    asked_at: datetime


class AudienceError(Exception):
    """The audience cannot be read."""


class AudienceUnavailable(AudienceError):
    """The CRM does not answer, or has a temporary problem. Another try may succeed.

    `retry_after`: the seconds of its Retry-After, if it sent one.
    """

    def __init__(self, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class AudienceRefused(AudienceError):
    """The CRM refused for good (a 4xx other than 408 and 429): another try would not succeed."""


class AudienceSource(Protocol):
    """A source of contacts. Every call can raise AudienceUnavailable or AudienceRefused."""

    def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """The contacts of the audience (see `Audience.includes`), page by page.

        A page that fails is requested again for a short time. A contact may come twice if the CRM changes while it is
        read. A caller that stops early must close the generator (`aclosing`).
        """
        ...

    async def count(self, org_id: str, audience: Audience) -> int:
        """Number of contacts that `pages` would return now."""
        ...

    async def sample(self, org_id: str, audience: Audience, limit: int) -> list[Contact]:
        """Up to `limit` (at most 1,000) of the contacts that `pages` would return. Fast: a person waits for it."""
        ...

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """Numbers of contacts with the audience's statuses that `pages` does not return, by reason."""
        ...

    async def contact(self, org_id: str, contact_id: str) -> Contact | None:
        """One contact; None if it does not exist."""
        ...

    async def contacts_with_email(self, org_id: str, mailbox: MailboxKey) -> list[Contact]:
        """All contacts whose address is this mailbox in one of its `search_forms`, and perhaps in other spellings,
        including those who opted out. Each contact once, by id."""
        ...

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """Set the contact's marketingOptOut. False if the contact does not exist."""
        ...

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """The statuses that a contact can have, in the CRM's order."""
        ...

    async def probe(self) -> None:
        """Check that the source answers."""
        ...


# ── the DNS ──────────────────────────────────────────────────────────────────────────────────────────


class DnsUnavailable(Exception):
    """The DNS does not answer, or its answer is an error other than "no such name"."""


class TextRecords(Protocol):
    """Looks up TXT records in the DNS."""

    async def texts(self, name: str) -> list[str]:
        """The TXT records (RFC 1035 §3.3.14) of a name, each as one string; empty if there is no such name.

        Raises DnsUnavailable.
        """
        ...


# ── the relay ────────────────────────────────────────────────────────────────────────────────────────


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


class Limit(StrEnum):
    """What limits a caller of the API: the limit for a user, for a client address, for an organisation's test mails."""

    TOKEN = "token"  # noqa: S105 - a name
    PUBLIC = "public"
    TEST = "test"


class Quota(NamedTuple):
    """What is left of one rate of a limit. `reset` is the number of seconds until more of it is left."""

    rate: Rate
    left: int
    reset: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a limit allows a request. If not, nothing was counted, and `wait` is the number of seconds after which
    the same request is allowed, if nobody else uses the limit. Without `quotas` the limit is off."""

    allowed: bool
    wait: float = 0.0
    quotas: tuple[Quota, ...] = ()


class RequestLimiter(Protocol):
    """Counts the requests to the API, for all its processes together."""

    @property
    def local(self) -> bool:
        """Whether this process counts alone, because Redis does not answer."""
        ...

    def rates(self, limit: Limit) -> Sequence[Rate]:
        """The rates of the limit. Empty: the limit is off."""
        ...

    async def take(self, limit: Limit, whose: str, wanted: int = 1) -> Verdict:
        """Count `wanted` requests (or test mails) against the limit of `whose`: all, or none if that is too many."""
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

    async def enqueue_import(self, import_id: UUID) -> None: ...
