"""From what a relay did to what becomes of the send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.ports import SubmissionOutcome
from marketing_service.replies import Outcome, judge
from marketing_service.store.states import FailReason, SendStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.ports import Submission

MAX_LOSSES = 3
"""How often one send may lose its connection within a batch before that stats as a try: the relay may be
restarting, or it may be this very message that it hangs up on."""


class Decision(NamedTuple):
    """The state a send goes to. `delay` is in seconds; `refuses_us` when it is not the recipient that is refused."""

    status: SendStatus
    reason: FailReason | None = None
    delay: float | None = None
    refuses_us: bool = False


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before each further try, in seconds; after the last of them a deferred send has failed."""

    delays: Sequence[float]

    def decide(self, submission: Submission, *, tries: int, losses: int) -> Decision:
        """What becomes of a send at its `tries`-th try, having lost its connection `losses` times in this batch."""
        match submission.outcome:
            case SubmissionOutcome.ACCEPTED:
                return Decision(SendStatus.DELIVERED)
            case SubmissionOutcome.UNKNOWN:
                return Decision(SendStatus.UNCONFIRMED, delay=self.delay_after(tries))
            case SubmissionOutcome.NOT_BEGUN:
                return Decision(SendStatus.QUEUED)
            case SubmissionOutcome.LOST:
                return self._deferred(tries) if losses >= MAX_LOSSES else Decision(SendStatus.QUEUED)
            case SubmissionOutcome.REFUSED:
                return self._refused(submission, tries)

    def delay_after(self, tries: int) -> float | None:
        """Seconds until the try after the `tries`-th; None where that was the last."""
        return self.delays[tries - 1] if tries <= len(self.delays) else None

    def _refused(self, submission: Submission, tries: int) -> Decision:
        if submission.reply is None:
            raise ValueError("a refusal has a reply")
        match judge(submission.reply, submission.phase).outcome:
            case Outcome.SENDER:
                return Decision(SendStatus.QUEUED, refuses_us=True)
            case Outcome.TRANSIENT:
                return self._deferred(tries)
            case _:
                return Decision(SendStatus.FAILED, FailReason.REJECTED)

    def _deferred(self, tries: int) -> Decision:
        delay = self.delay_after(tries)
        if delay is None:
            return Decision(SendStatus.FAILED, FailReason.DEFERRED_TOO_OFTEN)
        return Decision(SendStatus.DEFERRED, delay=delay)
