"""The retry policy: what a submission means for its send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.ledger.commit_results import SendResult
from marketing_service.ports import SubmissionOutcome
from marketing_service.replies import ReplyClass
from marketing_service.sending.refusals import refusal_of
from marketing_service.store.states import FailReason, SendStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.ledger.commit_results import MarkedSend
    from marketing_service.ports import Submission

MAX_LOSSES = 3
"""How often one send may lose its connection within a batch before this counts as a try. The relay may be restarting,
or it may be this message that makes the relay close the connection."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits before each further try, in seconds. After the last try a deferred send has failed."""

    delays: Sequence[float]

    def result(self, marked: MarkedSend, submission: Submission, *, losses: int) -> SendResult:
        """The result of a submission whose reply, if it has one, is about the recipient or its domain.

        `losses`: how often the send has lost its connection in this batch.
        """
        match submission.outcome:
            case SubmissionOutcome.ACCEPTED:
                return _result(marked, submission, SendStatus.DELIVERED)
            case SubmissionOutcome.UNKNOWN:
                return _result(marked, submission, SendStatus.UNCONFIRMED, delay=self.delay_after(marked.tries))
            case SubmissionOutcome.NOT_BEGUN:
                return self.requeued(marked, submission)
            case SubmissionOutcome.LOST:
                again = self.requeued if losses < MAX_LOSSES else self.deferred
                return again(marked, submission)
            case SubmissionOutcome.REFUSED:
                return self._refused(marked, submission)

    def requeued(self, marked: MarkedSend, submission: Submission) -> SendResult:
        """The send was certainly not accepted: it waits again, and no try is used up."""
        return _result(marked, submission, SendStatus.QUEUED)

    def rejected(self, marked: MarkedSend, submission: Submission) -> SendResult:
        """The send has failed for good."""
        return _result(marked, submission, SendStatus.FAILED, reason=FailReason.REJECTED)

    def delay_after(self, tries: int) -> float | None:
        """Seconds until the try that follows the `tries`-th; None if that was the last one."""
        return self.delays[tries - 1] if tries <= len(self.delays) else None

    def _refused(self, marked: MarkedSend, submission: Submission) -> SendResult:
        refusal = refusal_of(submission)
        if refusal is None:
            raise ValueError("A refused submission must have a reply.")
        is_transient = refusal.reply_class is ReplyClass.TRANSIENT
        return self.deferred(marked, submission) if is_transient else self.rejected(marked, submission)

    def deferred(self, marked: MarkedSend, submission: Submission) -> SendResult:
        """The send uses up a try, and is due again later; after its last try it has failed."""
        delay = self.delay_after(marked.tries)
        if delay is None:
            return _result(marked, submission, SendStatus.FAILED, reason=FailReason.DEFERRED_TOO_OFTEN)
        return _result(marked, submission, SendStatus.DEFERRED, delay=delay)


def _result(
    marked: MarkedSend,
    submission: Submission,
    status: SendStatus,
    *,
    reason: FailReason | None = None,
    delay: float | None = None,
) -> SendResult:
    reply = None if submission.outcome is SubmissionOutcome.ACCEPTED else submission.reply
    return SendResult(
        marked.claim,
        marked.send.id,
        marked.attempt,
        status,
        reason=reason,
        smtp_code=reply.code if reply else None,
        enhanced_code=reply.enhanced_code if reply else None,
        message=reply.text if reply else submission.detail,
        delay=delay,
    )
