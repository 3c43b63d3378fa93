"""Sends batches: claims one, runs it, gives it back, and has the next rung."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ledger import batches, lifecycle
from marketing_service.sending.batch import BatchRun
from marketing_service.sending.committer import Recorder
from marketing_service.sending.dispatcher import Lanes
from marketing_service.sending.leases import Leases
from marketing_service.sending.stats import SendingStats

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Call, Transaction, Transactions
    from marketing_service.ledger.batches import Claim, WaitingSend
    from marketing_service.ports import Mailer, RateLimiter
    from marketing_service.sending.enqueueing import BatchEnqueuer
    from marketing_service.sending.messages import Messages
    from marketing_service.sending.retries import RetryPolicy
    from marketing_service.sending.throttle import DomainThrottle
    from marketing_service.tokens import BounceAddresses, TokenKeyring

log = structlog.get_logger(__name__)

_RELEASE_TRIES = 5
_TURN = 1.0
"""Seconds for which one ring is good for further batches, while none rung for another campaign waits."""
_SHORTEST_REST = 1.0
_MAX_REST = 60.0
"""Seconds. A limit may have been raised meanwhile, so even where an hour's is used up it is asked again."""


class Sender:
    """The sending side of one process; its batches share the mailer's connections."""

    def __init__(
        self,
        transactions: Transactions,
        call: Call,
        *,
        mailer: Mailer,
        messages: Messages,
        tokens: TokenKeyring,
        bounces: BounceAddresses | None,
        enqueuer: BatchEnqueuer,
        retries: RetryPolicy,
        rates: RateLimiter | None,
        domains: DomainThrottle,
        lanes: int,
        lease: float,
        resend_ambiguous: bool,
    ) -> None:
        self.stats = SendingStats()
        self.leases = Leases(transactions, seconds=lease)
        self._transactions = transactions
        self._call = call
        self._mailer = mailer
        self._messages = messages
        self._tokens = tokens
        self._bounces = bounces
        self._enqueuer = enqueuer
        self._retries = retries
        self._rates = rates
        self._domains = domains
        self._most_lanes = lanes
        self._resend_ambiguous = resend_ambiguous
        self._lanes: WeakValueDictionary[UUID, Lanes] = WeakValueDictionary()
        self._runs: set[BatchRun] = set()
        self._draining = False

    @property
    def batches_running(self) -> int:
        return len(self._runs)

    def drain(self) -> None:
        """Mark no more, in any batch: what is marked is finished and recorded, the rest goes back."""
        self._draining = True
        for run in self._runs:
            run.stop()

    async def send_batch(self, campaign_id: UUID, number: int) -> None:
        """Send what is due of one batch; does nothing where it is held, done, or the process is draining.

        While its turn lasts it goes on with the campaign's next batches that nobody was rung for: taking one from the
        ledger, in the call that gives the last one back, costs a tenth of a way through the queue.
        Raises Unavailable when PostgreSQL does not answer; the sweep then rings again.
        """
        if self._draining:
            return
        turn_ends = time.monotonic() + _TURN
        async with self._transactions() as tx:
            claimed = await batches.claim_batch(tx.connection, campaign_id, number, lease=self.leases.seconds)
        while claimed is not None:
            claim, waiting = claimed
            with structlog.contextvars.bound_contextvars(campaign_id=str(campaign_id), batch=claim.number):
                run = await self._run(claim, waiting) if waiting else None
                goes_on = time.monotonic() < turn_ends and (run is None or (run.hold is None and run.rest is None))
                claimed = await self._give_back(claim, run, goes_on=goes_on)

    async def _run(self, claim: Claim, waiting: list[WaitingSend]) -> BatchRun:
        message = await self._messages.of_launched(claim.campaign_id)
        run = BatchRun(
            claim,
            waiting,
            message=message,
            tokens=self._tokens,
            bounces=self._bounces,
            retries=self._retries,
            domains=self._domains,
        )
        self._runs.add(run)
        try:
            with self.leases.held(claim, run.stop):
                if self._draining:
                    run.stop()
                await self._lanes_of(claim.campaign_id).send(run)
        finally:
            self._runs.discard(run)
        return run

    def _lanes_of(self, campaign_id: UUID) -> Lanes:
        """Shared by the campaign's batches, gone with the last of them."""
        lanes = self._lanes.get(campaign_id)
        if lanes is None:
            recorder = Recorder(
                self._transactions,
                self._call,
                campaign_id,
                rates=self._rates,
                resend_ambiguous=self._resend_ambiguous,
                stats=self.stats,
            )
            lanes = Lanes(
                self._most_lanes, mailer=self._mailer, recorder=recorder, domains=self._domains, stats=self.stats
            )
            self._lanes[campaign_id] = lanes
        return lanes

    async def _give_back(
        self, claim: Claim, run: BatchRun | None, *, goes_on: bool
    ) -> tuple[Claim, list[WaitingSend]] | None:
        """Give a batch back, and take the next one or have it rung."""
        for tries in range(_RELEASE_TRIES):
            try:
                if run is not None and (run.hold is not None or run.postponed):
                    async with self._transactions() as tx:
                        await self._pause_and_postpone(tx.connection, claim, run)
                if goes_on and not self._draining:
                    following = await batches.next_batch(self._call, claim, lease=self.leases.seconds)
                    if following is not None:
                        return following
                # What has been given back above is no longer ours, and giving it back again changes nothing.
                async with self._transactions() as tx:
                    await self._release(tx, claim, run)
            except Unavailable:
                await asyncio.sleep(2**tries / 4)
            else:
                return None
        log.warning("batch_not_released")  # its lease runs out, and the sweep settles it
        return None

    async def _release(self, tx: Transaction, claim: Claim, run: BatchRun | None) -> None:
        await batches.release_batch(tx.connection, claim)
        if run is not None and run.rest is not None:
            seconds = min(max(run.rest, _SHORTEST_REST), _MAX_REST)
            await self._enqueuer.rest(tx.connection, claim, seconds)
            self.stats.batches_released += 1
        if not self._draining:
            await self._enqueuer.enqueue_after_commit(tx, claim.campaign_id)

    async def _pause_and_postpone(self, connection: AsyncConnection, claim: Claim, run: BatchRun) -> None:
        if run.hold is not None and await lifecycle.pause(connection, claim.campaign_id, run.hold):
            log.warning("campaign_paused", reason=run.hold)
            self.stats.pauses[run.hold] += 1
        postponed = run.postponed
        if postponed:
            log.info("sends_postponed", sends=len(postponed))
            self.stats.postponed += len(postponed)
            await batches.postpone_sends(connection, claim, postponed)
