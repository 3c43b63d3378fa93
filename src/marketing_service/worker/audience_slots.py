"""Shares the audience slots of a worker between organisations.

An organisation may hold several slots while nobody else needs one. As soon as an organisation without a slot waits, it
holds at most one: its other jobs are released after their current page, and are due again. The sweep enqueues them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.store.audience_jobs import campaign_organisation, others_wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.preflight import MustYield

log = structlog.get_logger(__name__)


class _Slot:
    """A slot in use, by a job of the organisation."""

    def __init__(self, org_id: str) -> None:
        self.org_id = org_id


class AudienceSlots:
    """The slots of this process: `number` of them."""

    def __init__(self, transactions: Transactions, *, number: int) -> None:
        self._transactions = transactions
        self._number = number
        self._used: list[_Slot] = []

    async def run(self, campaign_id: UUID, work: Callable[[MustYield], Awaitable[None]]) -> None:
        """Run a job for the campaign, unless its organisation already holds a slot that another one waits for. Then the
        job stays due. `work` gets the question whether it must stop. Raises Unavailable."""
        async with self._transactions() as tx:
            org_id = await campaign_organisation(tx.connection, campaign_id)
        if org_id is None:
            return
        if org_id in self._holders() and await self._others_wait():
            log.info("audience_slot_released", campaign_id=str(campaign_id))
            return
        slot = _Slot(org_id)
        self._used.append(slot)

        async def must_yield() -> bool:
            return self._is_extra(slot) and len(self._used) >= self._number and await self._others_wait()

        try:
            await work(must_yield)
        finally:
            self._used.remove(slot)

    def _holders(self) -> set[str]:
        return {slot.org_id for slot in self._used}

    def _is_extra(self, slot: _Slot) -> bool:
        """Whether the organisation holds another slot that it got earlier."""
        return next(used for used in self._used if used.org_id == slot.org_id) is not slot

    async def _others_wait(self) -> bool:
        # An organisation that holds a slot does not count: two of them would wait for each other.
        async with self._transactions() as tx:
            return await others_wait(tx.connection, self._holders())
