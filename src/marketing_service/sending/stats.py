"""What the sending of one process did since it started."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marketing_service.ledger.lifecycle import PauseReason
    from marketing_service.ports import Submission, SubmissionOutcome
    from marketing_service.replies import Phase

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
"""The upper bounds of the histogram of submission times, in seconds."""


class SendingStats:
    """Plain numbers that only grow, so that counting costs almost nothing."""

    def __init__(self) -> None:
        self.submissions: Counter[tuple[SubmissionOutcome, Phase]] = Counter()
        self.durations = [0] * (len(SECONDS) + 1)
        """How many submissions took at most each of SECONDS and more than the one before; the last: more than all."""
        self.seconds = 0.0
        self.refused_by_fence = 0
        """Results that were not recorded, because another worker had claimed their batch."""
        self.refused_values = 0
        """Sends whose result, or whose mark, PostgreSQL refused because of its values."""
        self.rate_waits = 0
        """How often a connection waited, for up to a second, until the rate limiter allowed the next message."""
        self.batches_released = 0
        """Batches released because the rate limiter would not have allowed more soon."""
        self.postponed = 0
        """Sends postponed because their domain backs off."""
        self.pauses: Counter[PauseReason] = Counter()
        """Campaigns that this process paused."""

    def submitted(self, submission: Submission, seconds: float) -> None:
        """Count one submission, which took this many seconds."""
        self.submissions[submission.outcome, submission.phase] += 1
        self.durations[bisect_left(SECONDS, seconds)] += 1
        self.seconds += seconds
