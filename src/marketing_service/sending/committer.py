"""Commits: one commit records results and marks the next sends of a campaign, for all connections of a process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.db import DATABASE_ERRORS, cause_of, refuses_data
from marketing_service.errors import Unavailable
from marketing_service.ledger.commit_results import (
    CommitResult,
    SendResult,
    commit_results,
    committed_before,
    record,
)
from marketing_service.ledger.lifecycle import skip_cancelled
from marketing_service.logs import LogThrottle
from marketing_service.ports import Allowance
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from marketing_service.db import Call, Transactions
    from marketing_service.ports import RateLimiter
    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.sending.stats import SendingStats
    from marketing_service.store.batches import Claim, WaitingSend

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

RETRY_BACKOFF = ExponentialBackoff(first=0.2, maximum=5.0)
_RATE_LIMITER_RETRY_SECONDS = 5.0
"""Time until the rate limiter is asked again after it did not answer. Nothing is marked until then."""


class _Commit:
    """One commit of results and marks, which may be tried several times."""

    def __init__(
        self,
        call: Call,
        campaign_id: UUID,
        results: Sequence[SendResult],
        to_mark: Sequence[tuple[Claim, WaitingSend]],
    ) -> None:
        self._call = call
        self._campaign_id = campaign_id
        self._results = results
        self._to_mark = to_mark
        self._is_again = False

    async def __call__(self) -> CommitResult:
        """An earlier try may have been committed, and only its answer lost: when PostgreSQL crashes, or fails over to a
        standby. What it has recorded is not refused by the fence. What it has marked is marked again: nobody else would
        submit it, and it would become UNCONFIRMED."""
        known: frozenset[UUID] = frozenset()
        if self._is_again:
            known, not_submitted = await committed_before(
                self._call, self._campaign_id, results=self._results, to_mark=self._to_mark
            )
            if not_submitted:
                await commit_results(self._call, self._campaign_id, results=not_submitted, to_mark=())
        self._is_again = True
        results = [result for result in self._results if result.send_id not in known]
        commit = await commit_results(self._call, self._campaign_id, results=results, to_mark=self._to_mark)
        return replace(commit, recorded=commit.recorded | known)


class Committer:
    """Makes the commits of one campaign.

    While PostgreSQL cannot commit, for whatever reason, it retries: a result must not be lost, and nothing new can be
    marked. Only values that PostgreSQL refuses are not tried again.
    """

    def __init__(
        self,
        transactions: Transactions,
        call: Call,
        campaign_id: UUID,
        *,
        capacity: RelayCapacity,
        rates: RateLimiter | None,
        resend_ambiguous: bool,
        stats: SendingStats,
        backoff: ExponentialBackoff = RETRY_BACKOFF,
    ) -> None:
        self._transactions = transactions
        self._call = call
        self._campaign_id = campaign_id
        self._capacity = capacity
        self._rates = rates
        self._resend_ambiguous = resend_ambiguous
        self._stats = stats
        self._backoff = backoff
        self._log_throttle = LogThrottle()

    async def allowance(self, to_mark: Sequence[tuple[Claim, WaitingSend]]) -> Allowance:
        """How many of these sends the relay and the rate limiter allow now.

        From the rate limiter, exactly what the next commit marks is taken, so that nothing has to be given back.
        """
        if not to_mark:
            return Allowance(0)
        granted, wait = self._capacity.take(len(to_mark))
        if self._rates is None or not granted:
            return Allowance(granted, wait)
        try:
            allowance = await self._rates.take(to_mark[0][0].org_id, granted)
            return Allowance(allowance.granted, max(allowance.wait, wait))
        except Unavailable as error:
            log.warning("rates_unavailable", campaign_id=str(self._campaign_id), error=error.detail)
            return Allowance(0, _RATE_LIMITER_RETRY_SECONDS)

    async def commit(self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]) -> CommitResult:
        """Record `results` and mark `to_mark`; returns once this is committed."""
        if self._resend_ambiguous:
            unconfirmed = [result for result in results if result.status is SendStatus.UNCONFIRMED]
            if unconfirmed:
                self._note_refused(unconfirmed, await self._retry(partial(self._record_and_requeue, unconfirmed)))
                results = [result for result in results if result.status is not SendStatus.UNCONFIRMED]
        commit = await self._commit(results, to_mark)
        self._note_refused(results, commit)
        waits_again = sum(result.status in (SendStatus.QUEUED, SendStatus.DEFERRED) for result in results)
        if commit.is_cancelled and waits_again:
            await self._retry(partial(self._skip_cancelled, waits_again))
        return commit

    async def _commit(
        self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]
    ) -> CommitResult:
        """Commit the group. If PostgreSQL refuses a value of it, each half is committed alone, so that one send does
        not hold up the others."""
        try:
            return await self._retry(_Commit(self._call, self._campaign_id, results, to_mark))
        except DATABASE_ERRORS as error:  # about the values: see _retry
            if len(results) + len(to_mark) == 1:
                return await self._commit_refused(results, to_mark, cause_of(error))
        half = len(results) // 2 if len(results) > 1 else len(results)
        rest = len(to_mark) // 2 if not results else 0
        first = await self._commit(results[:half], to_mark[:rest])
        second = await self._commit(results[half:], to_mark[rest:])
        return CommitResult(
            may_mark=second.may_mark,
            is_cancelled=second.is_cancelled,
            marked=first.marked | second.marked,
            recorded=first.recorded | second.recorded,
        )

    async def _commit_refused(
        self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]], cause: str
    ) -> CommitResult:
        """PostgreSQL refuses this one send alone. Its result becomes UNCONFIRMED, with the reason; a send that cannot
        be marked is not submitted."""
        self._stats.refused_values += 1
        send_ids = [str(result.send_id) for result in results] + [str(send.id) for _, send in to_mark]
        log.error("values_refused", campaign_id=str(self._campaign_id), send_ids=send_ids, cause=cause)
        if not results or results[0].status is SendStatus.UNCONFIRMED:
            return CommitResult(may_mark=True)
        result = results[0]
        message = f"The ledger refused the result {result.status}: {cause}"
        return await self._commit(
            [SendResult(result.claim, result.send_id, result.attempt, SendStatus.UNCONFIRMED, message=message)], ()
        )

    async def _retry(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do the work until PostgreSQL has done it. Whatever the error, the results that this process holds must not be
        lost: only the end of the process ends the wait. Raises the errors for which `refuses_data` is true."""
        failures = 0
        while True:
            try:
                return await work()
            except (Unavailable, *DATABASE_ERRORS) as error:
                if refuses_data(error):
                    raise
                failures += 1
                cause = error.cause if isinstance(error, Unavailable) else cause_of(error)
                if self._log_throttle.allows(cause, time.monotonic()):
                    log.warning("ledger_unavailable", campaign_id=str(self._campaign_id), cause=cause)
                await asyncio.sleep(self._backoff.delay(failures))

    async def _record_and_requeue(self, unconfirmed: Sequence[SendResult]) -> CommitResult:
        async with self._transactions() as tx:
            return await record(tx.connection, self._campaign_id, results=unconfirmed, resend_ambiguous=True)

    async def _skip_cancelled(self, limit: int) -> None:
        async with self._transactions() as tx:
            await lock_campaign(tx.connection, self._campaign_id)
            await skip_cancelled(tx.connection, self._campaign_id, limit=limit)

    def _note_refused(self, results: Sequence[SendResult], commit: CommitResult) -> None:
        refused = len(results) - len(commit.recorded)
        if refused:
            self._stats.refused_by_fence += refused
            log.warning("results_refused_by_fence", campaign_id=str(self._campaign_id), results=refused)
