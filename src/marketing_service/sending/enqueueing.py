"""Puts due batches in the queue, a bounded window of each campaign at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marketing_service.ledger import batches
from marketing_service.ports import BatchRing

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ledger.batches import Claim
    from marketing_service.ports import Doorbell


class Ringer:
    """Rings for campaigns' batches.

    `window`: how many batches of one campaign may wait in the queue; `patience`: seconds after which one that
    nobody claimed counts as lost, and is rung again.
    """

    def __init__(self, transactions: Transactions, doorbell: Doorbell, *, window: int, patience: float) -> None:
        self._transactions = transactions
        self._doorbell = doorbell
        self._window = window
        self._patience = patience

    async def ring(self, campaign_id: UUID) -> None:
        """Fill the campaign's window."""
        async with self._transactions() as tx:
            await self.ring_after(tx, campaign_id)

    async def ring_after(self, tx: Transaction, campaign_id: UUID) -> None:
        """Fill the campaign's window once this transaction has committed."""
        taken = await batches.take_rings(tx.connection, campaign_id, window=self._window, patience=self._patience)
        if taken:
            rings = [BatchRing(campaign_id, number, ring, ahead) for number, ring, ahead in taken]
            tx.after_commit(partial(self._doorbell.ring_batches, rings))

    async def rest(self, connection: AsyncConnection, claim: Claim, seconds: float) -> None:
        """Have a batch that was just given back rung in `seconds`, and leave it alone until then."""
        await batches.rest_batch(connection, claim, seconds=seconds, patience=self._patience)
