"""Opens: the pixel of a send was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ledger import opens
from marketing_service.tracking.public import organisation_of

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions


async def record_open(transactions: Transactions, send_id: UUID) -> None:
    """Count one load of the send's pixel; nothing where there is no such send. Raises Unavailable."""
    org_id = await organisation_of(transactions, send_id)
    if org_id is not None:
        async with transactions(org_id) as tx:
            await opens.record_open(tx.connection, send_id)
