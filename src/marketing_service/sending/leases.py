"""Renews the leases of the batches that this process works on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from marketing_service.store.batches import renew_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from marketing_service.db import Transactions
    from marketing_service.store.batches import Claim

log = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 3
"""How often a lease is renewed before it would expire."""


class Leases:
    """The leases of this process. A lease lasts `seconds`; call `renew` every `seconds / RENEWALS_PER_LEASE`."""

    def __init__(self, transactions: Transactions, *, seconds: float) -> None:
        self.seconds = seconds
        self._transactions = transactions
        self._on_loss: dict[Claim, Callable[[], None]] = {}

    @contextmanager
    def kept(self, claim: Claim, on_loss: Callable[[], None]) -> Iterator[None]:
        """Renew the lease of `claim` while the block runs. `on_loss` is called when another process has the batch."""
        self._on_loss[claim] = on_loss
        try:
            yield
        finally:
            del self._on_loss[claim]

    async def renew(self) -> None:
        """Renew every lease.

        Raises Unavailable. The fence then decides: a process that settles an expired claim raises its epoch.
        """
        claims = list(self._on_loss)
        if not claims:
            return
        async with self._transactions() as tx:
            kept = await renew_leases(tx.connection, claims, lease=self.seconds)
        for claim in claims:
            on_loss = None if claim in kept else self._on_loss.get(claim)
            if on_loss is not None:
                log.warning("lease_lost", campaign_id=str(claim.campaign_id), batch=claim.number)
                on_loss()
