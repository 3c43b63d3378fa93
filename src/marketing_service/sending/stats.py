"""What the sending of one process has come to since it started."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marketing_service.ledger.lifecycle import PauseReason
    from marketing_service.ports import Submission, SubmissionOutcome
    from marketing_service.replies import Phase

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
"""The upper bounds by which durations are told apart."""


class SendingStats:
    """Plain numbers, so that counting costs the hot path next to nothing; they only grow."""

    def __init__(self) -> None:
        self.submissions: Counter[tuple[SubmissionOutcome, Phase]] = Counter()
        self.durations = [0] * (len(SECONDS) + 1)
        """How many hand-overs took no longer than each of SECONDS and longer than the one before; the last: longer."""
        self.seconds = 0.0
        self.refused_by_fence = 0
        self.rate_waits = 0
        """How often a lane had to wait, for up to a second, until the rates allowed its next message."""
        self.batches_released = 0
        """Batches given back because the rates would not have allowed more soon."""
        self.postponed = 0
        """Sends that were put off because their domain rests."""
        self.pauses: Counter[PauseReason] = Counter()

    def submitted(self, submission: Submission, seconds: float) -> None:
        self.submissions[submission.outcome, submission.phase] += 1
        self.durations[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds
