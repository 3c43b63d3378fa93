"""Clicks: a campaign's links, who followed which, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, PROVEN, counted, lock_campaign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class SentLink:
    """A link as one send carried it: its address as the author wrote it, and what the CRM had said of the contact.

    `is_soon`: it is so short a time since the message was delivered that only a machine can have been so quick.
    """

    campaign_id: UUID
    url: str
    email: str
    first_name: str | None
    last_name: str | None
    company_name: str | None
    is_unconfirmed: bool
    is_soon: bool


@dataclass(frozen=True, slots=True)
class LinkStats:
    """A link of a campaign. `clicks` counts sends, `total_clicks` clicks; neither counts a machine's."""

    number: int
    url: str
    clicks: int
    total_clicks: int
    machine_clicks: int


_WRITE = text(
    """
    INSERT INTO marketing_links (org_id, campaign_id, number, url)
    SELECT :org_id, :campaign_id, number, url FROM unnest(CAST(:urls AS text[])) WITH ORDINALITY AS link (url, number)
    """
)


async def write_links(connection: AsyncConnection, *, org_id: str, campaign_id: UUID, urls: Sequence[str]) -> None:
    """Write down where the links of a list that stands lead, numbered from 1."""
    if urls:
        await connection.execute(_WRITE, {"org_id": org_id, "campaign_id": campaign_id, "urls": list(urls)})


_LINKS = text(
    """
    SELECT number, url, clicks, total_clicks, machine_clicks FROM marketing_links
    WHERE campaign_id = :campaign_id ORDER BY number
    """
)


async def links_of(connection: AsyncConnection, campaign_id: UUID) -> list[LinkStats]:
    """The campaign's tracked links, by number; none before its list stands."""
    rows = await connection.execute(_LINKS, {"campaign_id": campaign_id})
    return [LinkStats(**row) for row in rows.mappings()]


_SENT = text(
    """
    SELECT s.campaign_id, l.url, s.email, s.first_name, s.last_name, s.company_name,
           s.status = 'UNCONFIRMED' AS is_unconfirmed,
           coalesce(s.sent_at, s.marked_at) > clock_timestamp() - :soon * interval '1 second' AS is_soon
    FROM marketing_sends s JOIN marketing_links l ON l.campaign_id = s.campaign_id AND l.number = :number
    WHERE s.id = :send_id AND s.marked_at IS NOT NULL
    """
)


async def sent_link(connection: AsyncConnection, *, send_id: UUID, number: int, soon_seconds: float) -> SentLink | None:
    """The link with this number, as the send carried it; None where no such thing was ever sent. What comes within
    `soon_seconds` of the delivery is `is_soon`."""
    key = {"send_id": send_id, "number": number, "soon": soon_seconds}
    row = (await connection.execute(_SENT, key)).mappings().one_or_none()
    return None if row is None else SentLink(**row)


# Needs no lock on the campaign: none of its counters moves. Whoever holds both has the click's row first.
_AGAIN = text(
    """
    WITH again AS (
        UPDATE marketing_clicks SET clicks = clicks + 1 WHERE send_id = :send_id AND number = :number RETURNING number
    )
    UPDATE marketing_links l SET total_clicks = total_clicks + 1 FROM again
    WHERE l.campaign_id = :campaign_id AND l.number = again.number
    """
)
_FIRST = counted(
    f"""
    followed AS (
        INSERT INTO marketing_clicks AS k (org_id, send_id, number, first_clicked_at)
        SELECT org_id, id, :number, clock_timestamp() FROM marketing_sends WHERE id = :send_id
        ON CONFLICT (send_id, number) DO UPDATE SET clicks = k.clicks + 1
        RETURNING old.number IS NULL AS is_first
    ),
    link AS (
        UPDATE marketing_links l
        SET total_clicks = total_clicks + 1, clicks = l.clicks + CAST(is_first AS int)
        FROM followed WHERE l.campaign_id = :campaign_id AND l.number = :number
    ),
    moved AS (
        UPDATE marketing_sends s SET clicked_at = coalesce(s.clicked_at, clock_timestamp()), {PROVEN}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id
        RETURNING {MOVED}
    )
    """
)


async def record_click(connection: AsyncConnection, link: SentLink, *, send_id: UUID, number: int) -> None:
    """Count that a person has followed the link. That an UNCONFIRMED send's was proves that it arrived."""
    key = {"campaign_id": link.campaign_id, "send_id": send_id, "number": number}
    if not link.is_unconfirmed and (await connection.execute(_AGAIN, key)).rowcount:
        return
    await lock_campaign(connection, link.campaign_id)
    await connection.execute(_FIRST, key)


_BY_A_MACHINE = text(
    """
    UPDATE marketing_links SET machine_clicks = machine_clicks + 1
    WHERE campaign_id = :campaign_id AND number = :number
    """
)
_ARRIVED = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET {PROVEN}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.status = 'UNCONFIRMED'
        RETURNING {MOVED}
    )
    """
)


async def record_machine_click(connection: AsyncConnection, link: SentLink, *, send_id: UUID, number: int) -> None:
    """Count that a machine has followed the link, which proves as well that the message arrived."""
    if link.is_unconfirmed:
        await lock_campaign(connection, link.campaign_id)
        await connection.execute(_ARRIVED, {"campaign_id": link.campaign_id, "send_id": send_id})
    await connection.execute(_BY_A_MACHINE, {"campaign_id": link.campaign_id, "number": number})
