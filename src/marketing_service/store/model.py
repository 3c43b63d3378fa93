"""What a campaign, its figures and its email log look like to whoever uses them: frozen values, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from marketing_service.ports import Audience
    from marketing_service.store.states import CampaignStatus, SendStatus

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Content:
    """What an administrator writes: the message and whom it is for."""

    name: str
    from_name: str | None
    from_email: str
    reply_to: str | None
    subject: str
    html_body: str | None
    text_body: str | None
    audience: Audience
    track_clicks: bool = False


@dataclass(frozen=True, slots=True)
class CampaignStats:
    """A campaign's counters, as the ledger keeps them. Each counts sends, not loads or visits."""

    recipients: int
    queued: int
    sending: int
    deferred: int
    delivered: int
    failed: int
    skipped: int
    unconfirmed: int
    opens: int
    opens_delivered: int
    machine_opens: int
    machine_opens_delivered: int
    clicks: int
    unsubscribes: int
    hard_bounces: int
    soft_bounces: int

    @property
    def open_rate(self) -> float:
        """Sends opened and DELIVERED, as a fraction of those DELIVERED; 0 where nothing was delivered."""
        return self.opens_delivered / self.delivered if self.delivered else 0.0

    @property
    def human_open_rate(self) -> float:
        """The same, of opens that do not look like a machine's."""
        return (self.opens_delivered - self.machine_opens_delivered) / self.delivered if self.delivered else 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a launch failed: a stable code, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Campaign:
    id: UUID
    org_id: str
    content: Content
    status: CampaignStatus
    failure: Failure | None
    scheduled_at: datetime | None
    launched_at: datetime | None
    expanded_at: datetime | None
    sent_at: datetime | None
    paused_at: datetime | None
    pause_reason: str | None
    cancelled_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    version: int
    stats: CampaignStats


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a campaign has come."""

    status: CampaignStatus
    launched_at: datetime | None
    stats: CampaignStats
    contacts_fetched: int | None
    """How many contacts have been read while the list of recipients is being made, and None at other times."""


@dataclass(frozen=True, slots=True)
class Overview:
    """An organisation's campaigns, counted; the open rate is the mean over SENT ones that delivered something."""

    total: int
    draft: int
    sending: int
    sent: int
    failed: int
    average_open_rate: float


@dataclass(frozen=True, slots=True)
class SendError:
    """The last thing the relay, or the connection to it, said against a send."""

    smtp_code: int | None
    enhanced_code: str | None
    message: str | None


NO_ERROR = SendError(None, None, None)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One send, as the email log shows it. `address` is the normalised email, by which the log is ordered."""

    id: UUID
    contact_id: str
    email: str
    address: str
    status: SendStatus
    reason: str | None
    attempts: int
    error: SendError | None
    queued_at: datetime
    sent_at: datetime | None
    opened_at: datetime | None
    last_opened_at: datetime | None
    open_count: int
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class CampaignKey:
    """A place in the list of campaigns: the page that follows starts just after it."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class LogKey:
    """A place in the email log: the page that follows starts just after it."""

    address: str
    id: UUID


@dataclass(frozen=True, slots=True)
class Page(Generic[T, K]):
    """Some of a list, and the place where the next page starts; None where this was the last."""

    items: Sequence[T]
    next: K | None
