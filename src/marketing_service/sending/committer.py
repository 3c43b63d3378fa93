"""Commits: one commit records results and marks the next sends of a campaign, for all connections of a process."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.errors import Unavailable
from marketing_service.ledger.commit_results import commit_results, record
from marketing_service.ledger.lifecycle import skip_cancelled
from marketing_service.ports import Allowance
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from marketing_service.db import Call, Transactions
    from marketing_service.ledger.commit_results import CommitResult, SendResult
    from marketing_service.ports import RateLimiter
    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.sending.stats import SendingStats
    from marketing_service.store.batches import Claim, WaitingSend

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

RETRY_BACKOFF = ExponentialBackoff(first=0.2, maximum=5.0)
_RATE_LIMITER_RETRY_SECONDS = 5.0
"""Time until the rate limiter is asked again after it did not answer. Nothing is marked until then."""


class Committer:
    """Makes the commits of one campaign.

    While PostgreSQL does not answer, it retries: a result must not be lost, and nothing new can be marked.
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
        commit = await self._retry(
            partial(commit_results, self._call, self._campaign_id, results=results, to_mark=to_mark)
        )
        self._note_refused(results, commit)
        waits_again = sum(result.status in (SendStatus.QUEUED, SendStatus.DEFERRED) for result in results)
        if commit.is_cancelled and waits_again:
            await self._retry(partial(self._skip_cancelled, waits_again))
        return commit

    async def _retry(self, work: Callable[[], Awaitable[_T]]) -> _T:
        failures = 0
        while True:
            try:
                return await work()
            except Unavailable:
                failures += 1
                log.warning("ledger_unavailable", campaign_id=str(self._campaign_id))
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
