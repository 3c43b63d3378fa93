"""How long results gather before a commit records them: a commit costs the same for one result as for forty."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HOLD_SECONDS = 0.01
"""A result waits at most so long for others."""
_WEIGHT = 0.1
"""Weight of a new duration in the moving averages."""
_SHARE_OF_SUBMISSION = 0.75
_COMMITS = 2.0


class Grouping:
    """The time until the next commit of one campaign.

    A connection that reports a result has one more marked send. The commit must be done, and have marked the next one,
    before that send is submitted: otherwise the connection waits for the database. So a result may wait for what is
    left of the usual time of a submission after two commits: the one that may be under way, and its own.

    Near relays answer faster than PostgreSQL commits. Nothing is held then: results gather during the commit before.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._submission = 0.0
        self._commit = 0.0
        self._oldest_at: float | None = None

    def submission_took(self, seconds: float) -> None:
        """One submission took so long, from the result before it on the same connection."""
        self._submission += _WEIGHT * (seconds - self._submission)

    def commit_took(self, seconds: float) -> None:
        """One commit took so long."""
        self._commit += _WEIGHT * (seconds - self._commit)

    def result_added(self) -> None:
        """A result waits for its commit."""
        if self._oldest_at is None:
            self._oldest_at = self._now()

    def results_taken(self) -> None:
        """A commit has taken all results."""
        self._oldest_at = None

    @property
    def hold(self) -> float:
        """Seconds that the oldest result may wait for others."""
        spare = _SHARE_OF_SUBMISSION * self._submission - _COMMITS * self._commit
        return min(max(spare, 0.0), MAX_HOLD_SECONDS)

    @property
    def remaining(self) -> float:
        """Seconds until the next commit is due; 0 if it is due, or if there is no result."""
        if self._oldest_at is None:
            return 0.0
        return max(self._oldest_at + self.hold - self._now(), 0.0)
