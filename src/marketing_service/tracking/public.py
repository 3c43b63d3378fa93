"""From a public link, which carries only a send's id, to the organisation whose rows its request may see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.store.sends import organisation_of_send

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions


async def organisation_of(transactions: Transactions, send_id: UUID) -> str | None:
    """The organisation that the send belongs to; None if there is no such send."""
    async with transactions() as tx:
        return await organisation_of_send(tx.connection, send_id)
