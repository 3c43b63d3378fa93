"""Keeps the leases of the batches this process works on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from marketing_service.ledger.batches import renew_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from marketing_service.db import Transactions
    from marketing_service.ledger.batches import Claim

log = structlog.get_logger(__name__)

RENEWALS = 3
"""How often a lease is renewed before it would run out."""


class Leases:
    """Holds leases; `seconds` is how long one lasts, and `renew` is to be called every `seconds / RENEWALS`."""

    def __init__(self, transactions: Transactions, *, seconds: float) -> None:
        self.seconds = seconds
        self._transactions = transactions
        self._held: dict[Claim, Callable[[], None]] = {}

    @contextmanager
    def held(self, claim: Claim, on_loss: Callable[[], None]) -> Iterator[None]:
        """Renew `claim` while the block runs; `on_loss` is called when it is no longer ours."""
        self._held[claim] = on_loss
        try:
            yield
        finally:
            del self._held[claim]

    async def renew(self) -> None:
        """Renew every lease held now. Raises Unavailable; the fence then decides: whoever settles our claims
        meanwhile raises their epoch."""
        claims = list(self._held)
        if not claims:
            return
        async with self._transactions() as tx:
            kept = await renew_leases(tx.connection, claims, lease=self.seconds)
        for claim in set(claims) - kept:
            on_loss = self._held.get(claim)
            if on_loss is not None:
                log.warning("lease_lost", campaign_id=str(claim.campaign_id), batch=claim.number)
                on_loss()
