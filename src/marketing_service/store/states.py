"""The states of a campaign and of a send, the reasons for them, and the moves between them."""

from __future__ import annotations

from enum import StrEnum


class CampaignStatus(StrEnum):
    DRAFT = "DRAFT"
    SENDING = "SENDING"
    SENT = "SENT"
    FAILED = "FAILED"


class ScheduleProblem(StrEnum):
    """Why a scheduled launch did not happen."""

    REFUSED = "REFUSED"
    """A launch by a user would have been refused, too."""
    MISSED = "MISSED"
    """No worker could launch the draft within an hour."""


class SendStatus(StrEnum):
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    DEFERRED = "DEFERRED"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    UNCONFIRMED = "UNCONFIRMED"


class SkipReason(StrEnum):
    """Why a send is not mailed."""

    OPTED_OUT = "OPTED_OUT"
    SUPPRESSED = "SUPPRESSED"
    DUPLICATE = "DUPLICATE"
    CANCELLED = "CANCELLED"


class FailReason(StrEnum):
    """Why a send failed."""

    MALFORMED_ADDRESS = "MALFORMED_ADDRESS"
    TEMPLATE_TOO_COSTLY = "TEMPLATE_TOO_COSTLY"
    """The template needs more than its budget for the values of this contact."""
    REJECTED = "REJECTED"
    DEFERRED_TOO_OFTEN = "DEFERRED_TOO_OFTEN"
    BOUNCED_HARD = "BOUNCED_HARD"
    """The relay accepted the message, and a report said later that the address takes no mail."""
    BOUNCED_SOFT = "BOUNCED_SOFT"
    """The relay accepted the message, and a report said later that this message could not be delivered."""


class ResendRefusal(StrEnum):
    """Why a bulk resend did not queue a send again."""

    OPTED_OUT = "OPTED_OUT"
    SUPPRESSED = "SUPPRESSED"
    NOT_IN_CRM = "NOT_IN_CRM"
    CANCELLED = "CANCELLED"
    """The campaign was cancelled after the request."""
    CHANGED = "CHANGED"
    """The send was delivered, sent again or changed otherwise since the request."""


class SuppressionReason(StrEnum):
    """Why an address must not be mailed."""

    HARD_BOUNCE = "HARD_BOUNCE"
    SOFT_BOUNCES = "SOFT_BOUNCES"
    """Soft bounces on several days, without a delivered message in between."""
    MANUAL = "MANUAL"


class SuppressionOrigin(StrEnum):
    """Where a suppression came from."""

    REPORT = "REPORT"
    API = "API"
    CSV = "CSV"


MOVES: frozenset[tuple[SendStatus, SendStatus]] = frozenset(
    {
        (SendStatus.QUEUED, SendStatus.SENDING),
        (SendStatus.QUEUED, SendStatus.SKIPPED),
        (SendStatus.DEFERRED, SendStatus.SENDING),
        (SendStatus.DEFERRED, SendStatus.SKIPPED),
        (SendStatus.SENDING, SendStatus.DELIVERED),
        (SendStatus.SENDING, SendStatus.DEFERRED),
        (SendStatus.SENDING, SendStatus.FAILED),
        (SendStatus.SENDING, SendStatus.UNCONFIRMED),
        (SendStatus.SENDING, SendStatus.QUEUED),  # marked, but certainly not submitted
        (SendStatus.DELIVERED, SendStatus.FAILED),  # a bounce
        (SendStatus.UNCONFIRMED, SendStatus.FAILED),  # a bounce
        (SendStatus.UNCONFIRMED, SendStatus.DELIVERED),  # on proof
        (SendStatus.UNCONFIRMED, SendStatus.QUEUED),  # resend
        (SendStatus.FAILED, SendStatus.QUEUED),  # resend
    }
)
"""Every move of a send; `docs/architecture.md` shows them. Sends are inserted as QUEUED, SKIPPED or FAILED."""
