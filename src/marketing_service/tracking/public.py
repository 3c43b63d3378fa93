"""From a public link, which carries nothing but a send's id, to the organisation whose rows it may touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions

_ORGANISATION = text("SELECT marketing_send_org(:send_id)")


async def organisation_of(transactions: Transactions, send_id: UUID) -> str | None:
    """The organisation the send belongs to, or None where there is no such send."""
    async with transactions() as tx:
        org_id: str | None = (await tx.connection.execute(_ORGANISATION, {"send_id": send_id})).scalar_one()
    return org_id
