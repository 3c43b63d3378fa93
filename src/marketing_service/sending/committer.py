"""Records results and marks what goes next, for all connections of one campaign in one commit at a time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ledger.commit_results import record, record_and_mark
from marketing_service.ledger.counters import lock_campaign
from marketing_service.ledger.lifecycle import skip_cancelled
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from marketing_service.db import Call, Transactions
    from marketing_service.ledger.batches import Claim
    from marketing_service.ledger.commit_results import Marked, Result, Step
    from marketing_service.ports import RateLimiter
    from marketing_service.sending.stats import SendingStats

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

_FIRST_PAUSE = 0.2
_MAX_PAUSE = 5.0
_WITHOUT_RATES = 5.0
"""Seconds after which the rates are asked for again when nobody could be asked: until then nothing goes."""


class Turn(NamedTuple):
    """What one commit did. `open`: whether more of the campaign may be marked. The first `granted` of what was wanted
    are in `marked`, or not to be handed over at all; for the others the rates are to be asked in `wait` seconds."""

    open: bool
    marked: Mapping[UUID, Marked]
    granted: int
    wait: float


class Recorder:
    """Commits, one at a time.

    While PostgreSQL is away it tries again: a result is worth keeping, and nothing new can be marked meanwhile. Where
    there are rates, exactly what is about to be marked is taken from them, in one go: what is taken is used at once,
    and nothing needs to be given back.
    """

    def __init__(
        self,
        transactions: Transactions,
        call: Call,
        campaign_id: UUID,
        *,
        rates: RateLimiter | None,
        resend_ambiguous: bool,
        stats: SendingStats,
    ) -> None:
        self._transactions = transactions
        self._call = call
        self._campaign_id = campaign_id
        self._rates = rates
        self._resend_ambiguous = resend_ambiguous
        self._stats = stats

    async def step(self, results: Sequence[Result], wanted: Sequence[tuple[Claim, UUID]]) -> Turn:
        """Record `results` and mark `wanted`; returns once committed."""
        granted, wait = len(wanted), 0.0
        if self._rates is not None and wanted:
            granted, wait = await self._take(self._rates, wanted[0][0].org_id, len(wanted))
        step = await self._commit(results, wanted[:granted])
        return Turn(step.open, step.marked, granted, wait)

    async def _take(self, rates: RateLimiter, org_id: str, wanted: int) -> tuple[int, float]:
        """How many of the wishes may go now, and in how many seconds to ask for the others."""
        try:
            allowance = await rates.take(org_id, wanted)
        except Unavailable as error:
            log.warning("rates_unavailable", campaign_id=str(self._campaign_id), error=error.detail)
            return 0, _WITHOUT_RATES
        return allowance.granted, allowance.wait

    async def _commit(self, results: Sequence[Result], wanted: Sequence[tuple[Claim, UUID]]) -> Step:
        unknown = [r for r in results if r.status is SendStatus.UNCONFIRMED] if self._resend_ambiguous else []
        if unknown:
            self._note_refused(unknown, await self._patiently(partial(self._requeue, unknown)))
            results = [r for r in results if r.status is not SendStatus.UNCONFIRMED]
        mark = partial(record_and_mark, self._call, self._campaign_id, results=results, wanted=wanted)
        step = await self._patiently(mark)
        self._note_refused(results, step)
        waits_again = sum(r.status in (SendStatus.QUEUED, SendStatus.DEFERRED) for r in results)
        if step.is_cancelled and waits_again:
            await self._patiently(partial(self._skip, waits_again))
        return step

    async def _patiently(self, work: Callable[[], Awaitable[_T]]) -> _T:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await work()
            except Unavailable:
                log.warning("ledger_unavailable", campaign_id=str(self._campaign_id))
                await asyncio.sleep(pause)
                pause = min(pause * 2, _MAX_PAUSE)

    async def _requeue(self, unknown: Sequence[Result]) -> Step:
        async with self._transactions() as tx:
            return await record(tx.connection, self._campaign_id, results=unknown, resend_ambiguous=True)

    async def _skip(self, most: int) -> None:
        async with self._transactions() as tx:
            await lock_campaign(tx.connection, self._campaign_id)
            await skip_cancelled(tx.connection, self._campaign_id, most=most)

    def _note_refused(self, results: Sequence[Result], step: Step) -> None:
        refused = len(results) - len(step.recorded)
        if refused:
            self._stats.refused_by_fence += refused
            log.warning("results_refused_by_fence", campaign_id=str(self._campaign_id), results=refused)
