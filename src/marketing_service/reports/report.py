"""The content of a report, and the classification of the failure that it reports."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from marketing_service.replies import Cause, Classification, Phase, Reply, ReplyClass, classify

_FIRST_FINAL = 500
# RFC 3463 §3.4 and §3.7: the message is too large, or in a format that is not accepted.
_ABOUT_MESSAGE = re.compile(r"5\.(?:3\.4|6\.\d+)")


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
    reply was repeated until the sending system stopped trying: it is never hard. The 5xx reply with the same last
    digits tells whether it is about the address.
    """
    classification = classify(reply, Phase.RCPT)
    is_final = classification.reply_class is not ReplyClass.TRANSIENT and not (reply.enhanced_code or "5").startswith(
        "4"
    )
    if classification.reply_class is ReplyClass.TRANSIENT:
        classification = classify(replace(reply, code=_FIRST_FINAL + reply.code % 100), Phase.RCPT)
    return Failure(
        is_hard=is_final and classification.cause is Cause.ADDRESS,
        is_about_address=_is_about_address(classification, reply.enhanced_code or ""),
        smtp_code=None if code_is_assumed else reply.code,
        enhanced_code=reply.enhanced_code,
        text=reply.text,
    )


def _is_about_address(classification: Classification, enhanced_code: str) -> bool:
    if classification.cause is Cause.OTHER:
        return _ABOUT_MESSAGE.fullmatch(enhanced_code) is None
    return classification.reply_class is not ReplyClass.SENDER and classification.cause is not Cause.POLICY
