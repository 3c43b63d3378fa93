"""What a message that came back can say, and what a failure it reports is about."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from marketing_service.replies import Cause, Outcome, Phase, Reply, Verdict, judge

_FIRST_FINAL = 500
# RFC 3463 §3.4 and §3.7: too large, or in a form that is not taken.
_ABOUT_MESSAGE = re.compile(r"5\.(?:3\.4|6\.\d+)")


class Kind(StrEnum):
    """What somebody tells us."""

    FAILED = "FAILED"
    """It was not delivered, and nobody tries any more."""
    DELAYED = "DELAYED"
    """It is not delivered yet, and is still tried."""
    DELIVERED = "DELIVERED"
    """It was delivered, or passed on to where no more will be heard of it."""
    COMPLAINT = "COMPLAINT"
    """The recipient calls it unwanted."""
    OTHER = "OTHER"
    """No report: an automatic reply, a person's mail, anything else."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why it was not delivered."""

    is_hard: bool
    """The address does not exist or takes no mail."""
    about_address: bool
    """Whether it says anything about the address, as a full mailbox does and a refused message does not."""
    smtp_code: int | None
    enhanced_code: str | None
    text: str
    """What the other side said, in one line."""

    @property
    def severity(self) -> tuple[bool, bool]:
        return self.is_hard, self.about_address


@dataclass(frozen=True, slots=True)
class Report:
    """`failure` is there where, and only where, it is FAILED; `about` where it is a COMPLAINT: the header of the
    message complained of, and the report's own fields, in which tokens are to be looked for."""

    kind: Kind
    failure: Failure | None = None
    about: str = ""


def failure_of(reply: Reply, *, code_is_made_up: bool) -> Failure:
    """What a final reply, quoted in a report, says: judged by the one table there is for replies.

    Which phase it came in is not known; RCPT is where one recipient is refused. A 4xx here is one that was repeated
    until nobody tried any more, so it is never hard, and its 5xx twin tells whether it was about the address at all.
    """
    verdict = judge(reply, Phase.RCPT)
    is_final = verdict.outcome is not Outcome.TRANSIENT and not (reply.enhanced_code or "5").startswith("4")
    if verdict.outcome is Outcome.TRANSIENT:
        verdict = judge(replace(reply, code=_FIRST_FINAL + reply.code % 100), Phase.RCPT)
    return Failure(
        is_hard=is_final and verdict.cause is Cause.ADDRESS,
        about_address=_is_about_address(verdict, reply.enhanced_code or ""),
        smtp_code=None if code_is_made_up else reply.code,
        enhanced_code=reply.enhanced_code,
        text=reply.text,
    )


def _is_about_address(verdict: Verdict, enhanced_code: str) -> bool:
    if verdict.cause is Cause.OTHER:
        return _ABOUT_MESSAGE.fullmatch(enhanced_code) is None
    return verdict.outcome is not Outcome.SENDER and verdict.cause is not Cause.POLICY
