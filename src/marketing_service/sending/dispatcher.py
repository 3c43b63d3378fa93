"""The dispatcher of one campaign: opens connections, and submits the sends of its claimed batches over them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.ports import RelayDown
from marketing_service.rendering import NotRenderable
from marketing_service.replies import closes_connection
from marketing_service.sending.assignment import Assignment
from marketing_service.sending.commit_loop import CommitLoop
from marketing_service.sending.connection_session import ConnectionSession
from marketing_service.sending.render_pacing import CampaignPace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from marketing_service.ledger.commit_results import SendResult
    from marketing_service.ports import Mailer
    from marketing_service.sending.batch import ActiveBatch
    from marketing_service.sending.commit_loop import Commits
    from marketing_service.sending.mark_limit import MarkLimit
    from marketing_service.sending.relay_feedback import RelayFeedback
    from marketing_service.sending.render_pacing import RenderPacing
    from marketing_service.sending.stats import SendingStats
    from marketing_service.sending.throttle import DomainThrottle

_MAX_RATE_WAIT = 1.05
"""Seconds. A wait for the rate limiter of up to a second, rounded up, keeps the batch; a longer one releases it."""
_MAX_TIME_WITHOUT_ALLOWANCE = 5.0
"""Maximum seconds to wait for the rate limiter before the batch is released, however short each wait is."""


class Dispatcher:
    """Sends all batches of one campaign that this process has claimed, over at most `max_connections` connections.

    Each connection has a task of its own, the connection task. It borrows a connection, runs a session on it, and
    borrows the next one when the session ends. The commit loop marks sends and assigns them to the sessions. A
    connection task ends when nothing waits, or when no connection can be opened.
    """

    def __init__(
        self,
        max_connections: int,
        *,
        mailer: Mailer,
        committer: Commits,
        throttle: DomainThrottle,
        feedback: RelayFeedback,
        stats: SendingStats,
        pacing: RenderPacing,
        limit: MarkLimit,
    ) -> None:
        self._max_connections = max_connections
        self._mailer = mailer
        self._feedback = feedback
        self._stats = stats
        self._pacing = pacing
        self._pace = CampaignPace()
        self._now = throttle.now
        self._assignment = Assignment(limit)
        self._commit_loop = CommitLoop(
            self._assignment, committer, limit, on_applied=self._on_applied, on_error=self._fail, now=self._now
        )
        self._tasks: dict[asyncio.Task[None], None] = {}
        """The connection tasks, in the order in which they started. A dict, so that this order does not depend on
        addresses in memory: a simulated run can be repeated."""
        self._without_connection: dict[asyncio.Task[None], None] = {}
        """The connection tasks that have no connection now."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no batch."""
        return not self._assignment.batches

    async def send(self, batch: ActiveBatch) -> None:
        """Send what waits in the batch. Returns when nothing waits, when nothing more may be marked, or when no
        connection can be opened.

        If a connection task fails, every batch of the campaign fails. Cancelled, this closes the connections.
        """
        if not self._assignment.batches:
            self._commit_loop.allowed_at = self._now()
        self._assignment.add(batch)
        self._open_connections()
        self._commit_loop.start()
        try:
            await batch.finished()
        except asyncio.CancelledError:
            await self._cancel(self._tasks)
            raise
        finally:
            self._assignment.remove(batch)
            if not self._assignment.batches:
                await self._cancel(self._without_connection)

    # ── connection tasks ──

    def _open_connections(self) -> None:
        for _ in range(min(self._max_connections - len(self._tasks), self._assignment.waiting)):
            task = asyncio.create_task(self._use_connections())
            self._tasks[task] = None
            self._without_connection[task] = None
            task.add_done_callback(self._task_ended)

    async def _cancel(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        cancelled = list(tasks)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self._without_connection.pop(task, None)
        if not self._tasks and self._assignment.unassigned:
            self._assignment.give_up_unassigned()
            self._commit_loop.start()
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._open_connections()  # a send may have come while the task was ending
        elif not isinstance(error, RelayDown):
            self._fail(error)
        elif not self._tasks:
            self._relay_is_down(error)

    def _fail(self, error: BaseException) -> None:
        for batch in self._assignment.batches:
            batch.fail(error)
            batch.stop()

    def _relay_is_down(self, down: RelayDown) -> None:
        """No connection task is left. A batch that never had a connection pauses the campaign; another one continues
        later."""
        self._feedback.log_down(down)
        for batch in self._assignment.batches:
            if batch.had_connection:
                batch.stop()
            else:
                batch.pause(_reason_of(down), down.detail)

    async def _use_connections(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A connection task must run as a task.")
        while self._assignment.unassigned or self._assignment.has_waiting:
            async with self._mailer.connection() as connection:
                self._without_connection.pop(task, None)
                for batch in self._assignment.batches:
                    batch.had_connection = True
                await self._run_session(ConnectionSession(connection, self._mailer))
            self._without_connection[task] = None
            if self._commit_loop.rate_wait is not None:
                await self._wait_for_rate_limiter(self._commit_loop.rate_wait)

    async def _wait_for_rate_limiter(self, seconds: float) -> None:
        """Wait without a connection, so that other campaigns can use it."""
        if (
            seconds > _MAX_RATE_WAIT
            or self._now() + seconds - self._commit_loop.allowed_at > _MAX_TIME_WITHOUT_ALLOWANCE
        ):
            for batch in self._assignment.batches:
                batch.release_for = seconds
                batch.stop()
            self._commit_loop.rate_wait = None  # a batch that comes later asks again
            return
        self._stats.rate_waits += 1
        await asyncio.sleep(seconds)
        self._commit_loop.rate_wait = None

    # ── one session ──

    async def _run_session(self, session: ConnectionSession) -> None:
        """Submit one send after the other, until no more come or the connection is used up."""
        self._assignment.sessions.append(session)
        try:
            while await self._has_next(session):
                marked, envelope = session.prepared[0]
                session.started_at = started = self._now()
                submission = await session.connection.submit(envelope)
                seconds = self._now() - started
                self._stats.submitted(submission, seconds)
                self._commit_loop.grouping.submission_took(seconds)
                session.prepared.popleft()
                scope = self._feedback.read(submission, session.connection, started)
                self._record(self._assignment.batch_of(marked).result(marked, submission, scope))
        finally:
            self._assignment.sessions.remove(session)

    async def _has_next(self, session: ConnectionSession) -> bool:
        """Whether the session has a prepared send. Waits while one may come."""
        while not session.prepared:
            if not session.assigned:
                if self._assignment.unassigned and session.takes_more:
                    session.assign(self._assignment.unassigned.popleft())
                elif not (session.takes_more and self._more_may_come):
                    return False
                else:
                    self._commit_loop.start()
                    await session.wait()
            if self._pace.is_costly:
                await self._pacing.turn()
            self._prepare(session)
        return True

    def _prepare(self, session: ConnectionSession) -> None:
        """Make the envelopes of the assigned sends, and announce each but the one that is submitted next. Of a campaign
        with costly messages, only one."""
        while session.assigned:
            marked = session.assigned.popleft()
            batch = self._assignment.batch_of(marked)
            started = self._pacing.started()
            try:
                envelope = batch.prepare(marked, eight_bit=session.connection.eight_bit)
            except NotRenderable as error:
                self._record(batch.unmailable(marked, error))
            else:
                if session.prepared:
                    session.connection.announce(envelope)
                session.prepared.append((marked, envelope))
            finally:
                self._pacing.ended(self._pace, started)
            if self._pace.is_costly:
                return

    @property
    def _more_may_come(self) -> bool:
        if self._assignment.is_marking:
            return True
        return self._commit_loop.rate_wait is None and self._assignment.has_waiting

    def _record(self, result: SendResult) -> None:
        """Have the next commit record the result."""
        self._assignment.add_result(result)
        self._commit_loop.grouping.result_added()
        self._commit_loop.start()

    def _on_applied(self) -> None:
        """A commit was applied: prepare what it assigned, and wake the sessions that have something to do. Those to
        which nothing more can come are woken, too, so that they end: also a session whose connection was lost."""
        more_may_come = self._more_may_come
        for session in self._assignment.sessions:
            if session.is_idle:
                if session.assigned or not (session.takes_more and more_may_come):
                    session.wake()
            elif not self._pace.is_costly:
                self._prepare(session)  # at once: its envelope can still travel behind the message under way
        self._open_connections()  # for sends that wait again, or that were marked for a session that has ended


def _reason_of(down: RelayDown) -> PauseReason:
    """Why a campaign is paused that could open no connection."""
    if down.refuses_login:
        return PauseReason.RELAY_LOGIN_REFUSED
    is_for_now = down.reply is not None and closes_connection(down.reply)
    return PauseReason.RELAY_BUSY if is_for_now else PauseReason.RELAY_DOWN
