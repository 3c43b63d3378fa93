"""The limit of two marked sends per connection, for all campaigns of a process together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.ports import Mailer
    from marketing_service.sending.assignment import Assignment

MAX_MARKED_PER_CONNECTION = 2
"""One send that is being submitted, and one whose envelope travels behind it (pipelining, RFC 2920)."""


class MarkLimit:
    """The campaigns that a process sends, and how many sends they have marked.

    A connection can pass from one campaign to another before the results of the first are committed. Until then, the
    sends of the first are still marked in the ledger, so the second may not mark as many as the connection could take.
    """

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._assignments: dict[Assignment, None] = {}
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether another campaign waits for a connection."""
        return self._mailer.is_waited_for

    def add(self, assignment: Assignment) -> None:
        """Count what this campaign has marked."""
        self._assignments[assignment] = None

    def remove(self, assignment: Assignment) -> None:
        """The campaign has nothing marked any more."""
        self._assignments.pop(assignment, None)

    def room(self, assignment: Assignment) -> int:
        """How many more sends a commit of this campaign may mark. The commit also records all results of the
        campaign."""
        marked = sum(each.marked for each in self._assignments)
        unrecorded = sum(each.unrecorded for each in self._assignments if each is not assignment)
        return MAX_MARKED_PER_CONNECTION * self._mailer.connections_open - marked - unrecorded

    def call_when_recorded(self, callback: Callable[[], None]) -> None:
        """Call this once, when results of any campaign have been recorded."""
        self._waiting[callback] = None

    def results_recorded(self) -> None:
        """Results of a campaign have been recorded: others may have room now."""
        waiting, self._waiting = self._waiting, {}
        for callback in waiting:
            callback()
