"""The commit loop: records results and marks the next sends, one commit after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeAlias

from marketing_service.sending.grouping import Grouping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from marketing_service.ledger.commit_results import CommitResult, SendResult
    from marketing_service.ports import Allowance
    from marketing_service.sending.assignment import Assignment
    from marketing_service.sending.batch import ActiveBatch
    from marketing_service.sending.mark_limit import MarkLimit
    from marketing_service.store.batches import Claim, WaitingSend

    _Finished: TypeAlias = tuple[
        Sequence[SendResult], Sequence[tuple[ActiveBatch, WaitingSend]], Allowance, CommitResult
    ]


class Commits(Protocol):
    """What makes the loop's commits: a Committer."""

    async def allowance(self, to_mark: Sequence[tuple[Claim, WaitingSend]]) -> Allowance:
        """How many of these sends the rate limiter allows now."""
        ...

    async def commit(self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]) -> CommitResult:
        """Record `results` and mark `to_mark`; returns once this is committed."""
        ...


class CommitLoop:
    """Runs while there is a result to record, or a send to mark and room for it.

    A commit starts before the previous one is applied: PostgreSQL works while the connections do.
    """

    def __init__(
        self,
        assignment: Assignment,
        committer: Commits,
        limit: MarkLimit,
        *,
        on_applied: Callable[[], None],
        on_error: Callable[[BaseException], None],
        now: Callable[[], float],
    ) -> None:
        """`on_applied` is called after each commit is applied, and when the loop ends. `on_error` gets the error that
        ends it."""
        self.rate_wait: float | None = None
        """Seconds until the rate limiter may allow more. The loop sets it; a session task clears it after the wait.
        While it is set, nothing is marked."""
        self.allowed_at = now()
        """When the rate limiter last allowed something."""
        self._assignment = assignment
        self._committer = committer
        self._limit = limit
        self._on_applied = on_applied
        self._on_error = on_error
        self._now = now
        self.grouping = Grouping(now)
        self._task: asyncio.Task[None] | None = None
        self._gathered: asyncio.Future[None] | None = None
        """While the loop waits for more results: what ends the wait."""

    def start(self) -> None:
        """Run, unless it runs already. If it waits for more results, it waits no longer than it should."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        elif self._gathered is not None and self._assignment.is_urgent:
            self._end_wait()

    async def _run(self) -> None:
        finished: _Finished | None = None
        try:
            while True:
                if finished is not None and self._holds:
                    self._apply(*finished)
                    finished = None
                await self._gather()
                results = self._assignment.take_results()
                self.grouping.results_taken()
                to_mark = [] if self.rate_wait is not None else self._assignment.select_to_mark()
                commit = asyncio.create_task(self._commit(results, to_mark)) if results or to_mark else None
                if finished is not None:
                    self._apply(*finished)
                self._assignment.marking_starts(to_mark)
                if commit is not None:
                    finished = (results, to_mark, *(await commit))
                    self._assignment.commit_ended()
                elif finished is not None:
                    finished = None  # applying it may have made room, or a result
                else:
                    if self._assignment.waits_for_other_campaigns:
                        self._limit.call_when_recorded(self.start)
                    break
        except Exception as error:  # noqa: BLE001 - passed on to every batch
            self._assignment.marking_starts(())
            self._assignment.commit_ended()
            self._on_error(error)
        finally:
            self._task = None
        self._on_applied()

    @property
    def _holds(self) -> bool:
        return self.grouping.remaining > 0 and not self._assignment.is_urgent

    async def _gather(self) -> None:
        """Wait for more results, if that makes no connection wait."""
        if self._holds:
            loop = asyncio.get_running_loop()
            self._gathered = loop.create_future()
            timer = loop.call_later(self.grouping.remaining, self._end_wait)
            try:
                await self._gathered
            finally:
                self._gathered = None
                timer.cancel()

    def _end_wait(self) -> None:
        if self._gathered is not None and not self._gathered.done():
            self._gathered.set_result(None)

    async def _commit(
        self, results: Sequence[SendResult], to_mark: Sequence[tuple[ActiveBatch, WaitingSend]]
    ) -> tuple[Allowance, CommitResult]:
        sends = [(batch.claim, send) for batch, send in to_mark]
        allowance = await self._committer.allowance(sends)
        started = self._now()
        commit = await self._committer.commit(results, sends[: allowance.granted])
        self.grouping.commit_took(self._now() - started)
        return allowance, commit

    def _apply(
        self,
        results: Sequence[SendResult],
        to_mark: Sequence[tuple[ActiveBatch, WaitingSend]],
        allowance: Allowance,
        commit: CommitResult,
    ) -> None:
        if allowance.granted:
            self.allowed_at = self._now()
        if allowance.granted < len(to_mark):
            self.rate_wait = allowance.wait
        self._assignment.apply(results, to_mark, allowance.granted, commit)
        self._on_applied()
