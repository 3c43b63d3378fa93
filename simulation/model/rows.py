"""The rows of the model. Their columns have the names of the tables; moments are seconds, as in `time.time()`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from uuid import UUID

STATES = ("queued", "sending", "deferred", "delivered", "failed", "skipped", "unconfirmed")
"""The counters of which each send is in exactly one; `QUEUED` counts in `queued`, and so on."""
COUNTERS = (*STATES, "unsubscribes")
"""The counters of the model. Opens, clicks and bounces are not in the model."""


class Table(StrEnum):
    CAMPAIGNS = "campaigns"
    SENDS = "sends"
    BATCHES = "batches"
    OPT_OUTS = "opt_outs"
    SUPPRESSIONS = "suppressions"
    PAUSES = "relay_pauses"
    PROBE = "relay_probe"
    THROTTLES = "relay_throttles"
    REASONS = "reasons"


@dataclass(frozen=True, slots=True)
class Campaign:
    """A row is never changed: a statement puts another one in its place."""

    id: UUID
    org_id: str
    from_email: str = "news@example.com"
    status: str = "SENDING"
    expanded_at: float | None = None
    sent_at: float | None = None
    paused_at: float | None = None
    pause_reason: str | None = None
    cancelled_at: float | None = None
    audience_read_at: float | None = None
    version: int = 1
    next_batch: int = 0
    first_retry_batch: int = 0
    recipients: int = 0
    queued: int = 0
    sending: int = 0
    deferred: int = 0
    delivered: int = 0
    failed: int = 0
    skipped: int = 0
    unconfirmed: int = 0
    unsubscribes: int = 0

    @property
    def unsettled(self) -> int:
        return self.queued + self.sending + self.deferred

    @property
    def may_mark(self) -> bool:
        return self.status == "SENDING" and self.expanded_at is not None and self.paused_at is None


@dataclass(frozen=True, slots=True)
class Send:
    id: UUID
    org_id: str
    campaign_id: UUID
    email: str
    address: str
    status: str = "QUEUED"
    reason: str | None = None
    batch: int | None = None
    due_at: float | None = None
    attempts: int = 0
    tries: int = 0
    smtp_code: int | None = None
    enhanced_code: str | None = None
    error_message: str | None = None
    queued_at: float = 0.0
    marked_at: float | None = None
    sent_at: float | None = None
    unconfirmed_at: float | None = None
    consent_read_at: float | None = None
    unsubscribed_at: float | None = None

    @property
    def is_waiting(self) -> bool:
        return self.status in ("QUEUED", "DEFERRED")

    @property
    def is_unsettled(self) -> bool:
        return self.status in ("QUEUED", "DEFERRED", "SENDING")


@dataclass(frozen=True, slots=True)
class Batch:
    org_id: str
    campaign_id: UUID
    number: int
    epoch: int = 0
    lease_until: float | None = None
    enqueued_at: float | None = None
    enqueue_count: int = 0


@dataclass(frozen=True, slots=True)
class OptOut:
    org_id: str
    address: str
    opted_out_at: float
    confirmed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Suppression:
    org_id: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class RelayPause:
    campaign_id: UUID
    message: str | None
    pauses: int
    delivered: int
    probe_at: float | None


@dataclass(frozen=True, slots=True)
class RelayProbe:
    lease_until: float


@dataclass(frozen=True, slots=True)
class RelayThrottle:
    campaign_id: UUID
    connections: int
    messages_per_second: float | None
    updated_at: float


@dataclass(frozen=True, slots=True)
class Reason:
    org_id: str
    campaign_id: UUID
    status: str
    reason: str
    smtp_code: int
    enhanced_code: str
    sends: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        return self.campaign_id, self.status, self.reason, self.smtp_code, self.enhanced_code


Key: TypeAlias = tuple[Table, Any]
Row: TypeAlias = Campaign | Send | Batch | OptOut | Suppression | RelayPause | RelayProbe | RelayThrottle | Reason


@dataclass(slots=True)
class Tables:
    """All committed rows, by table and primary key."""

    rows: dict[Table, dict[Any, Row]] = field(default_factory=lambda: {table: {} for table in Table})

    def insert(self, *rows: Row) -> None:
        for row in rows:
            table, key = key_of(row)
            self.rows[table][key] = row


def key_of(row: Row) -> Key:
    """The table and the primary key of a row."""
    match row:
        case Campaign() | Send():
            return (Table.CAMPAIGNS if isinstance(row, Campaign) else Table.SENDS), row.id
        case Batch():
            return Table.BATCHES, (row.campaign_id, row.number)
        case OptOut() | Suppression():
            return (Table.OPT_OUTS if isinstance(row, OptOut) else Table.SUPPRESSIONS), (row.org_id, row.address)
        case RelayPause() | RelayThrottle():
            return (Table.PAUSES if isinstance(row, RelayPause) else Table.THROTTLES), row.campaign_id
        case Reason():
            return Table.REASONS, row.key
        case RelayProbe():
            return Table.PROBE, 1
