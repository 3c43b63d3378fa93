"""The content of a report, and the classification of the failure that it reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from marketing_service.replies import Cause, Phase, Reply, ReplyClass, classify


class Kind(StrEnum):
    """What a message reports."""

    FAILED = "FAILED"
    """The message was not delivered, and no further try follows."""
    DELAYED = "DELAYED"
    """The message is not delivered yet, and further tries follow."""
    DELIVERED = "DELIVERED"
    """The message was delivered, or passed to a system that sends no reports."""
    COMPLAINT = "COMPLAINT"
    """The recipient marked the message as unwanted."""
    OTHER = "OTHER"
    """Not a report: an automatic reply, a mail written by a person, or anything else."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message was not delivered."""

    is_hard: bool
    """Whether the address does not exist or accepts no mail."""
    is_about_address: bool
    """Whether the failure is about the address: a full mailbox is, a refused message is not."""
    smtp_code: int | None
    enhanced_code: str | None
    text: str
    """The text of the receiving system, in one line."""

    @property
    def severity(self) -> tuple[bool, bool]:
        return self.is_hard, self.is_about_address


@dataclass(frozen=True, slots=True)
class Report:
    """`failure` is set if, and only if, the kind is FAILED. `original_header` is set for a COMPLAINT.

    It is the header of the original message and the fields of the feedback report. The caller searches it for tokens.
    """

    kind: Kind
    failure: Failure | None = None
    original_header: str = ""


def failure_of(reply: Reply, *, code_is_assumed: bool) -> Failure:
    """The failure that a final reply, quoted in a report, describes. It uses the same rules as replies of the relay.

    The phase of the reply is not known. RCPT is assumed, because that is where a single recipient is refused. A 4xx
    reply was repeated until the sending system stopped trying: it is never hard. A failure counts against the address
    only if the reply positively speaks of it: an empty or unknown statement, or a timeout, does not.
    """
    classification = classify(reply, Phase.RCPT)
    is_final = classification.reply_class is ReplyClass.PERMANENT and not (reply.enhanced_code or "5").startswith("4")
    return Failure(
        is_hard=is_final and classification.cause is Cause.ADDRESS,
        is_about_address=classification.counts_against_address,
        smtp_code=None if code_is_assumed else reply.code,
        enhanced_code=reply.enhanced_code,
        text=reply.text,
    )
