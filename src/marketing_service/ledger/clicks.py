"""Clicks that move a counter: the first click of a send on a link, and a click that proves a delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.clicks import count_machine_click, count_repeated_click
from marketing_service.store.rules import proves_delivery

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.clicks import SentLink

# Each CTE reads the one before it: see the order of the locks in store/clicks.py.
_FIRST = counted(
    f"""
    followed AS (
        INSERT INTO marketing_clicks AS k (org_id, send_id, number, first_clicked_at)
        SELECT org_id, id, :number, clock_timestamp() FROM marketing_sends WHERE id = :send_id
        ON CONFLICT (send_id, number) DO UPDATE SET clicks = k.clicks + 1
        RETURNING k.send_id, old.number IS NULL AS is_first
    ),
    moved AS (
        UPDATE marketing_sends s
        SET clicked_at = coalesce(s.clicked_at, clock_timestamp()), link_requested_at = clock_timestamp(),
            {proves_delivery("s")}
        FROM followed WHERE s.campaign_id = :campaign_id AND s.id = followed.send_id
        RETURNING {MOVED}
    ),
    link AS (
        UPDATE marketing_links l
        SET total_clicks = total_clicks + 1, clicks = l.clicks + CAST(is_first AS int)
        FROM moved, followed WHERE l.campaign_id = :campaign_id AND l.number = :number
    )
    """
)


async def record_click(connection: AsyncConnection, link: SentLink, *, send_id: UUID, number: int) -> None:
    """Count that a person has followed the link. A click proves that an UNCONFIRMED send was delivered."""
    key = {"campaign_id": link.campaign_id, "send_id": send_id, "number": number}
    if not link.is_unconfirmed and await count_repeated_click(
        connection, campaign_id=link.campaign_id, send_id=send_id, number=number
    ):
        return
    await lock_campaign(connection, link.campaign_id)
    await connection.execute(_FIRST, key)


_DELIVERED = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET {proves_delivery("s")}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.status = 'UNCONFIRMED'
        RETURNING {MOVED}
    )
    """
)


async def record_machine_click(connection: AsyncConnection, link: SentLink, *, send_id: UUID, number: int) -> None:
    """Count that a machine has followed the link. This also proves that an UNCONFIRMED send was delivered."""
    if link.is_unconfirmed:
        await lock_campaign(connection, link.campaign_id)
        await connection.execute(_DELIVERED, {"campaign_id": link.campaign_id, "send_id": send_id})
    await count_machine_click(connection, send_id=send_id, number=number)
