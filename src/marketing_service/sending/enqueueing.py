"""Puts due batches into the queue, a bounded window of each campaign at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marketing_service.ports import QueuedBatch
from marketing_service.store import batches

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.store.batches import Claim


class BatchEnqueuer:
    """Enqueues the batches of campaigns.

    `window`: how many batches of one campaign may wait in the queue. `requeue_after`: seconds after which a batch that
    no worker has claimed is enqueued again, because the queue may have lost it.
    """

    def __init__(self, transactions: Transactions, job_queue: JobQueue, *, window: int, requeue_after: float) -> None:
        self._transactions = transactions
        self._job_queue = job_queue
        self._window = window
        self._requeue_after = requeue_after

    async def enqueue(self, campaign_id: UUID) -> None:
        """Fill the campaign's window."""
        async with self._transactions() as tx:
            await self.enqueue_after_commit(tx, campaign_id)

    async def enqueue_after_commit(self, tx: Transaction, campaign_id: UUID) -> None:
        """Fill the campaign's window once this transaction has committed."""
        taken = await batches.take_batches_to_enqueue(
            tx.connection, campaign_id, window=self._window, requeue_after=self._requeue_after
        )
        if taken:
            queued = [QueuedBatch(campaign_id, number, enqueue_count, ahead) for number, enqueue_count, ahead in taken]
            tx.after_commit(partial(self._job_queue.enqueue_batches, queued))

    async def requeue_later(self, connection: AsyncConnection, claim: Claim, seconds: float) -> None:
        """Have a batch that was released in this transaction enqueued again after `seconds`, and not earlier."""
        await batches.requeue_batch_later(connection, claim, seconds=seconds, requeue_after=self._requeue_after)
