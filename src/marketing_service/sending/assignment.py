"""Who gets what next: which sends the next commit marks, and which connection session gets each marked send."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from marketing_service.sending.mark_limit import MAX_MARKED_PER_CONNECTION
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from marketing_service.ledger.commit_results import CommitResult, MarkedSend, SendResult
    from marketing_service.sending.batch import ActiveBatch
    from marketing_service.sending.connection_session import ConnectionSession
    from marketing_service.sending.mark_limit import MarkLimit
    from marketing_service.store.batches import Claim, WaitingSend


class Assignment:
    """The sends of one campaign that this process works on, from "waiting" to "result to commit".

    Nothing here waits or does I/O, so each decision can be tested alone. The comments say which task writes a field.
    """

    def __init__(self, limit: MarkLimit) -> None:
        self.sessions: list[ConnectionSession] = []
        """Sessions that are open. Each session's task adds and removes its own."""
        self.unassigned: deque[MarkedSend] = deque()
        """Marked sends that no session could take. The commit loop adds; session tasks take."""
        self._batches: dict[Claim, ActiveBatch] = {}
        """Batches in the order in which they were added. The tasks that send batches add; `_settle` removes."""
        self._oldest_is_next = True
        """Whose send is marked next: one of the oldest batch, or one of the newest. Commit loop only."""
        self._marking: Sequence[tuple[ActiveBatch, WaitingSend]] = ()
        """Sends that a commit marks now, or that it has marked and `apply` has not seen yet. Commit loop only."""
        self._results: list[SendResult] = []
        """Results that no commit has taken yet. Session tasks add; the commit loop takes."""
        self._recording = 0
        """How many results the commit under way records. Commit loop only."""
        self._limit = limit
        """The limit that all campaigns of this process share."""

    # ── batches ──

    def add(self, batch: ActiveBatch) -> None:
        """Work on this batch too.

        A batch whose lease has run out may be claimed again, and its sends may move to another batch, before this
        process knows of it. Then only the newest claim may mark: one commit for both would assign a send twice.
        """
        for other in self._batches.values():
            if other.claim.number == batch.claim.number:
                min(other, batch, key=lambda one: one.claim.epoch).stop()
            else:
                other.leave_out(batch.send_ids)
        self._batches[batch.claim] = batch
        self._limit.add(self)

    def remove(self, batch: ActiveBatch) -> None:
        """Take no more sends of this batch. Sends of it that are in flight are still settled here."""
        batch.stop()
        self._discard_if_finished(batch)

    @property
    def batches(self) -> list[ActiveBatch]:
        """The batches that are worked on."""
        return list(self._batches.values())

    def batch_of(self, marked: MarkedSend) -> ActiveBatch:
        """The batch that a marked send belongs to."""
        return self._batches[marked.claim]

    @property
    def has_waiting(self) -> bool:
        """Whether a send waits to be marked."""
        return any(batch.waiting for batch in self._batches.values())

    @property
    def waiting(self) -> int:
        """How many sends wait for a connection, marked or not."""
        return len(self.unassigned) + sum(batch.waiting for batch in self._batches.values())

    # ── what the next commit does ──

    @property
    def is_urgent(self) -> bool:
        """Whether the next commit must not wait for more results: a connection has nothing to do, each connection has
        reported a result, or no connection is left that could report one."""
        if not self.sessions or len(self._results) >= len(self.sessions):
            return True
        return self.has_waiting and any(session.is_idle for session in self.sessions)

    @property
    def marked(self) -> int:
        """How many sends are marked, or are being marked, and have no result yet."""
        return len(self._marking) + len(self.unassigned) + sum(session.load for session in self.sessions)

    @property
    def unrecorded(self) -> int:
        """How many results are not committed yet: their sends are still marked in the ledger."""
        return len(self._results) + self._recording

    @property
    def places(self) -> int:
        """How many marked sends the sessions can take that may be assigned more."""
        is_waited_for = self._limit.is_waited_for
        takers = sum(session.takes_more_if(is_waited_for=is_waited_for) for session in self.sessions)
        return MAX_MARKED_PER_CONNECTION * takers

    def room(self) -> int:
        """How many more sends the next commit may mark. Only this holds the bound of two marked sends per connection.

        The commit that marks them also records all results of this campaign, but none of another campaign.
        """
        return min(self.places - self.marked, self._limit.room(self))

    @property
    def waits_for_other_campaigns(self) -> bool:
        """Whether a send could be marked if the results of other campaigns were recorded."""
        return self.has_waiting and self.places > self.marked and self._limit.room(self) <= 0

    def select_to_mark(self) -> list[tuple[ActiveBatch, WaitingSend]]:
        """The sends that the next commit marks: as many as there is room for, in turn of the oldest and of the newest
        batch that has any.

        The newest batch may be one of due retries, which then does not wait for all batches of first tries. Sends that
        the relay refused for reasons of its own come after those of all batches that it did not.
        """
        to_mark: list[tuple[ActiveBatch, WaitingSend]] = []
        room = self.room()
        for last in (False, True):
            batches = deque(self._batches.values())
            while batches and len(to_mark) < room:
                batch = batches[0 if self._oldest_is_next else -1]
                send = batch.take(last=last)
                if send is None:
                    batches.remove(batch)
                else:
                    to_mark.append((batch, send))
                    self._oldest_is_next = not self._oldest_is_next
        return to_mark

    def marking_starts(self, to_mark: Sequence[tuple[ActiveBatch, WaitingSend]]) -> None:
        """A commit that marks these sends has started."""
        self._marking = to_mark

    @property
    def is_marking(self) -> bool:
        """Whether a commit marks sends now."""
        return bool(self._marking)

    def add_result(self, result: SendResult) -> None:
        """Have the next commit record this result."""
        self._results.append(result)

    def take_results(self) -> list[SendResult]:
        """The results that the next commit records."""
        results, self._results = self._results, []
        self._recording = len(results)
        return results

    def commit_ended(self) -> None:
        """The commit under way has recorded its results, or has failed."""
        self._recording = 0
        self._limit.results_recorded()

    # ── what a commit did ──

    def apply(
        self,
        results: Iterable[SendResult],
        to_mark: Sequence[tuple[ActiveBatch, WaitingSend]],
        allowed: int,
        commit: CommitResult,
    ) -> None:
        """Apply a commit: settle its `results`, and assign what it marked of the first `allowed` of `to_mark`.

        The rate limiter did not allow the others: they wait again.
        """
        self._marking = ()
        for result in results:
            self._settle(result)
        if not commit.may_mark:
            for batch in self._batches.values():
                batch.stop()
        for batch, send in reversed(to_mark[allowed:]):
            batch.put_back(send)
        for batch, send in to_mark[:allowed]:
            marked = commit.marked.get(send.id)
            if marked is None:
                batch.drop()
                self._discard_if_finished(batch)
            else:
                self.unassigned.append(marked)
        self._assign()

    def give_up_unassigned(self) -> None:
        """No session is left: sends that are marked and not started go back to the queue."""
        while self.unassigned:
            marked = self.unassigned.popleft()
            self.add_result(self.batch_of(marked).not_started(marked))

    def _assign(self) -> None:
        """Assign marked sends: idle sessions first, two each, so that the second travels behind the first; then one to
        each busy session, beginning with the one whose submission has taken longest: it is the next to have none."""
        for session in sorted(self.sessions, key=lambda session: (not session.is_idle, session.started_at)):
            while self.unassigned and session.takes_more and session.load < MAX_MARKED_PER_CONNECTION:
                session.assign(self.unassigned.popleft())

    def _settle(self, result: SendResult) -> None:
        batch = self._batches[result.claim]
        batch.settle(result.send_id, waits_again=result.status is SendStatus.QUEUED)
        self._discard_if_finished(batch)

    def _discard_if_finished(self, batch: ActiveBatch) -> None:
        if batch.is_stopped and not batch.in_flight:
            self._batches.pop(batch.claim, None)
            if not self._batches:
                self._limit.remove(self)
