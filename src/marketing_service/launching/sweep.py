"""The sweep: finds the work that is due in the ledger and enqueues it. So the job queue may lose every job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.errors import Unavailable
from marketing_service.ledger import commit_results, expired_leases, lifecycle
from marketing_service.store import batches, expansions, idempotency, preflights, suppression_imports
from marketing_service.store.campaigns import active_campaigns, lock_campaign
from marketing_service.store.test_mails import due_test_mails

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.launching.relay_probes import RelayProbes
    from marketing_service.ports import JobQueue
    from marketing_service.sending.enqueueing import BatchEnqueuer
    from marketing_service.sending.retries import RetryPolicy

log = structlog.get_logger(__name__)

_MAX_GATHERED = 10_000
_MAX_SKIPPED = 5_000


class Sweep:
    """Any number of processes may sweep at the same time. Each step locks the rows that it moves, so a second process
    finds nothing left to move."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        job_queue: JobQueue,
        enqueuer: BatchEnqueuer,
        probes: RelayProbes | None,
        retries: RetryPolicy,
        resend_ambiguous: bool,
    ) -> None:
        self._transactions = transactions
        self._job_queue = job_queue
        self._enqueuer = enqueuer
        self._probes = probes
        self._retries = retries
        self._resend_ambiguous = resend_ambiguous

    async def sweep(self) -> None:
        """Settle the batches whose leases have expired, put due sends into batches, enqueue all due work, and delete
        old data. Raises Unavailable."""
        await self._settle_expired()
        if self._probes is not None:
            await self._probes.run()
        await self._gather_due()
        active, cancelled = await self._campaigns()
        for campaign_id in cancelled:
            await self._finish_cancel(campaign_id)
        for campaign_id in active:
            await self._enqueuer.enqueue(campaign_id)
        await self._enqueue_due_jobs()
        await self._clean()

    async def _settle_expired(self) -> None:
        async with self._transactions() as tx:
            expired = await batches.campaigns_with_expired_leases(tx.connection)
        for campaign_id in expired:
            async with self._transactions() as tx:
                unconfirmed = await expired_leases.settle_expired(tx.connection, campaign_id)
                if self._resend_ambiguous:
                    await commit_results.requeue_unconfirmed(
                        tx.connection,
                        campaign_id,
                        dict.fromkeys(unconfirmed, self._retries.delays[0] if self._retries.delays else 0.0),
                    )
                campaign = await lock_campaign(tx.connection, campaign_id)
                if campaign is not None and campaign.cancelled_at is not None:
                    await lifecycle.skip_cancelled(tx.connection, campaign_id, limit=_MAX_SKIPPED)
            log.warning("lease_expired", campaign_id=str(campaign_id), unconfirmed=len(unconfirmed))

    async def _gather_due(self) -> None:
        async with self._transactions() as tx:
            due = await batches.campaigns_with_due_sends(tx.connection)
        for campaign_id in due:
            async with self._transactions() as tx:
                await batches.gather_due(tx.connection, campaign_id, limit=_MAX_GATHERED)

    async def _campaigns(self) -> tuple[list[UUID], list[UUID]]:
        async with self._transactions() as tx:
            return await active_campaigns(tx.connection)

    async def _finish_cancel(self, campaign_id: UUID) -> None:
        moved = _MAX_SKIPPED
        while moved:
            async with self._transactions() as tx:
                await lock_campaign(tx.connection, campaign_id)
                moved = await lifecycle.skip_cancelled(tx.connection, campaign_id, limit=_MAX_SKIPPED)

    async def _enqueue_due_jobs(self) -> None:
        async with self._transactions() as tx:
            due_expansions = await expansions.due_expansions(tx.connection)
            tests = await due_test_mails(tx.connection)
            dry_runs = await preflights.due_preflights(tx.connection)
        try:
            for campaign_id, epoch in due_expansions:
                await self._job_queue.enqueue_expansion(campaign_id, epoch)
            for campaign_id, epoch in dry_runs:
                await self._job_queue.enqueue_preflight(campaign_id, epoch)
            for test_mail_id in tests:
                await self._job_queue.enqueue_test_mail(test_mail_id)
        except Unavailable as error:
            log.warning("queue_unavailable", error=error.detail)

    async def _clean(self) -> None:
        async with self._transactions() as tx:
            await expansions.clean_staging(tx.connection)
            await idempotency.forget_old_responses(tx.connection)
            await suppression_imports.forget_old_imports(tx.connection)
