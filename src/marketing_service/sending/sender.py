"""Sends batches: claims one, sends it, releases it, and has the next one enqueued."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.errors import Unavailable
from marketing_service.ledger import lifecycle
from marketing_service.sending.batch import ActiveBatch
from marketing_service.sending.committer import Committer
from marketing_service.sending.dispatcher import Dispatcher
from marketing_service.sending.envelopes import EnvelopeBuilder
from marketing_service.sending.leases import Leases
from marketing_service.sending.mark_limit import MarkLimit
from marketing_service.sending.relay_feedback import RelayFeedback
from marketing_service.sending.render_pacing import RenderPacing
from marketing_service.sending.stats import SendingStats
from marketing_service.store import batches, relay_pauses

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from marketing_service.db import Call, Transaction, Transactions
    from marketing_service.ledger.lifecycle import PauseReason
    from marketing_service.ports import Mailer, RateLimiter
    from marketing_service.sending.enqueueing import BatchEnqueuer
    from marketing_service.sending.messages import Messages
    from marketing_service.sending.retries import RetryPolicy
    from marketing_service.sending.throttle import DomainThrottle
    from marketing_service.store.batches import Claim, WaitingSend
    from marketing_service.store.relay_pauses import ProbeSchedule
    from marketing_service.tokens import BounceAddresses, TokenKeyring

log = structlog.get_logger(__name__)

_MAX_RELEASE_TRIES = 5
_RELEASE_BACKOFF = ExponentialBackoff(first=0.25, maximum=4.0)
_JOB_SECONDS = 1.0
"""Seconds during which one job continues with further batches of its campaign, if no other campaign waits."""
_MIN_RELEASE_SECONDS = 1.0
_MAX_RELEASE_SECONDS = 60.0
"""A released batch is enqueued again after this at the latest, even if an hourly limit is used up: the limit may have
been raised since."""


@dataclass(frozen=True, slots=True)
class SendingRules:
    """How one process sends. `lease`: seconds a claimed batch belongs to it without a sign of life."""

    max_connections: int
    lease: float
    resend_ambiguous: bool
    """Whether a send with an unknown outcome is sent again by itself."""
    probes: Mapping[PauseReason, ProbeSchedule]
    """When the relay is probed after it caused a pause."""


class Sender:
    """The sending of one process. All its batches share the mailer's connections."""

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
        throttle: DomainThrottle,
        rules: SendingRules,
        pacing: RenderPacing | None = None,
    ) -> None:
        self.stats = SendingStats()
        self.feedback = RelayFeedback(mailer.capacity)
        self.leases = Leases(transactions, seconds=rules.lease)
        self._transactions = transactions
        self._call = call
        self._mailer = mailer
        self._messages = messages
        self._tokens = tokens
        self._bounces = bounces
        self._enqueuer = enqueuer
        self._retries = retries
        self._rates = rates
        self._throttle = throttle
        self._pacing = pacing or RenderPacing()
        self._rules = rules
        self._mark_limit = MarkLimit(mailer)
        self._dispatchers: dict[UUID, Dispatcher] = {}
        self._active: list[ActiveBatch] = []
        self._throttled: set[UUID] = set()
        """The campaigns whose throttle is recorded."""
        self._draining = False

    @property
    def batches_running(self) -> int:
        """How many batches are being sent."""
        return len(self._active)

    async def report_throttle(self) -> None:
        """Record for each campaign being sent what the relay's replies have reduced its sending to. Call it as often as
        leases are renewed. Raises Unavailable."""
        # A campaign that waits for the relay has no active batch, so it stays until it is sent or nothing is reduced.
        campaigns = self._throttled | {batch.claim.campaign_id for batch in self._active}
        capacity = self._mailer.capacity
        if not (self._throttled or (campaigns and capacity.is_reduced)):
            return
        reduced: set[UUID] = set()
        async with self._transactions() as tx:
            if capacity.is_reduced:
                reduced = await relay_pauses.report_throttle(
                    tx.connection, sorted(campaigns), connections=capacity.connections, rate=capacity.rate
                )
            await relay_pauses.end_throttle(tx.connection, sorted(self._throttled - reduced))
        self._throttled = reduced | (self._throttled - campaigns)  # a batch may have ended meanwhile

    def drain(self) -> None:
        """Mark no more sends. Marked sends are finished and recorded; the others stay in their batch."""
        self._draining = True
        for batch in self._active:
            batch.stop()

    async def send_batch(self, campaign_id: UUID, number: int) -> None:
        """Send what is due of one batch. Does nothing if the batch is leased or finished, or if the process drains.

        For a second it continues with the campaign's next batches that are not in the queue. The call that releases
        one batch also claims the next one, which costs a tenth of the way through the queue.
        Raises Unavailable if PostgreSQL does not answer; the sweep then enqueues the batch again.
        """
        if self._draining:
            return
        clock = asyncio.get_running_loop().time
        job_ends = clock() + _JOB_SECONDS
        async with self._transactions() as tx:
            claimed = await batches.claim_batch(tx.connection, campaign_id, number, lease=self.leases.seconds)
        while claimed is not None:
            claim, waiting = claimed
            with structlog.contextvars.bound_contextvars(campaign_id=str(campaign_id), batch=claim.number):
                batch = await self._send(claim, waiting) if waiting else None
                may_continue = batch is None or (batch.pause_reason is None and batch.release_for is None)
                claimed = await self._release(claim, batch, claim_next=may_continue and clock() < job_ends)

    async def _send(self, claim: Claim, waiting: list[WaitingSend]) -> ActiveBatch:
        message = await self._messages.of_launched(claim.campaign_id)
        batch = ActiveBatch(
            claim,
            waiting,
            envelopes=EnvelopeBuilder(message, tokens=self._tokens, bounces=self._bounces),
            retries=self._retries,
            throttle=self._throttle,
            capacity=self._mailer.capacity,
        )
        self._active.append(batch)
        dispatcher = self._dispatcher_of(claim.campaign_id)
        try:
            with self.leases.kept(claim, batch.stop):
                if self._draining:
                    batch.stop()
                await dispatcher.send(batch)
        finally:
            self._active.remove(batch)
            if self._mailer.capacity.is_reduced:
                self._throttled.add(claim.campaign_id)
            if dispatcher.is_idle and self._dispatchers.get(claim.campaign_id) is dispatcher:
                del self._dispatchers[claim.campaign_id]
        return batch

    def _dispatcher_of(self, campaign_id: UUID) -> Dispatcher:
        """The campaign's dispatcher. Its batches share it; `_send` removes it with the last of them."""
        dispatcher = self._dispatchers.get(campaign_id)
        if dispatcher is None:
            committer = Committer(
                self._transactions,
                self._call,
                campaign_id,
                capacity=self._mailer.capacity,
                rates=self._rates,
                resend_ambiguous=self._rules.resend_ambiguous,
                stats=self.stats,
            )
            dispatcher = Dispatcher(
                self._rules.max_connections,
                mailer=self._mailer,
                committer=committer,
                throttle=self._throttle,
                feedback=self.feedback,
                stats=self.stats,
                pacing=self._pacing,
                limit=self._mark_limit,
            )
            self._dispatchers[campaign_id] = dispatcher
        return dispatcher

    async def _release(
        self, claim: Claim, batch: ActiveBatch | None, *, claim_next: bool
    ) -> tuple[Claim, list[WaitingSend]] | None:
        """Release a batch. Returns the next one if it was claimed; else the next one is enqueued."""
        is_settled = batch is None
        for failures in range(1, _MAX_RELEASE_TRIES + 1):
            try:
                if batch is not None and not is_settled:
                    await self._pause_and_postpone(claim, batch)
                    is_settled = True
                if claim_next and not self._draining:
                    following = await batches.next_batch(self._call, claim, lease=self.leases.seconds)
                    if following is not None:
                        return following
                # The call above has released the batch; to release it twice changes nothing.
                async with self._transactions() as tx:
                    await self._release_and_enqueue(tx, claim, batch)
            except Unavailable:
                await asyncio.sleep(_RELEASE_BACKOFF.delay(failures))
            else:
                return None
        log.warning("batch_not_released")  # its lease expires, and the sweep settles it
        return None

    async def _release_and_enqueue(self, tx: Transaction, claim: Claim, batch: ActiveBatch | None) -> None:
        await batches.release_batch(tx.connection, claim)
        if batch is not None and batch.release_for is not None:
            seconds = min(max(batch.release_for, _MIN_RELEASE_SECONDS), _MAX_RELEASE_SECONDS)
            await self._enqueuer.requeue_later(tx.connection, claim, seconds)
            self.stats.batches_released += 1
        if not self._draining:
            await self._enqueuer.enqueue_after_commit(tx, claim.campaign_id)

    async def _pause_and_postpone(self, claim: Claim, batch: ActiveBatch) -> None:
        reason, postponed = batch.pause_reason, batch.postponed
        if reason is None and not postponed:
            return
        async with self._transactions() as tx:
            paused = reason is not None and await lifecycle.pause(
                tx.connection, claim.campaign_id, reason, message=batch.pause_message, probes=self._rules.probes
            )
            if postponed:
                await batches.postpone_sends(tx.connection, claim, postponed)
        if reason is not None and paused:
            log.warning("campaign_paused", reason=reason, relay=batch.pause_message)
            self.stats.pauses[reason] += 1
        self.stats.postponed += len(postponed)
