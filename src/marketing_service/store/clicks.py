"""A campaign's tracked links, and the clicks on them that move no counter of the campaign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.rules import is_soon_after_delivery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class SentLink:
    """A link as one send carried it: the URL as the author wrote it, and the merge fields of the contact.

    `is_soon`: so little time has passed since the delivery that only a machine can follow the link so quickly.
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
    """Store the URLs of an expanded campaign's links, numbered from 1."""
    if urls:
        await connection.execute(_WRITE, {"org_id": org_id, "campaign_id": campaign_id, "urls": list(urls)})


_LINKS = text(
    """
    SELECT number, url, clicks, total_clicks, machine_clicks FROM marketing_links
    WHERE campaign_id = :campaign_id ORDER BY number
    """
)


async def links_of(connection: AsyncConnection, campaign_id: UUID) -> list[LinkStats]:
    """The campaign's tracked links, by number; none before the campaign is expanded."""
    rows = await connection.execute(_LINKS, {"campaign_id": campaign_id})
    return [LinkStats(**row) for row in rows.mappings()]


_SENT = text(
    f"""
    SELECT s.campaign_id, l.url, s.email, s.first_name, s.last_name, s.company_name,
           s.status = 'UNCONFIRMED' AS is_unconfirmed,
           {is_soon_after_delivery("s", ":soon")} AS is_soon
    FROM marketing_sends s JOIN marketing_links l ON l.campaign_id = s.campaign_id AND l.number = :number
    WHERE s.id = :send_id AND s.marked_at IS NOT NULL
    """
)


async def sent_link(connection: AsyncConnection, *, send_id: UUID, number: int, soon_seconds: float) -> SentLink | None:
    """The link with this number, as the send carried it; None if the send was never marked or has no such link.
    `is_soon` is true within `soon_seconds` after the delivery."""
    key = {"send_id": send_id, "number": number, "soon": soon_seconds}
    row = (await connection.execute(_SENT, key)).mappings().one_or_none()
    return None if row is None else SentLink(**row)


# Moves no counter of the campaign, so it needs no lock on the campaign. Statements lock rows in this order: the
# campaign's, the click's, the send's, the link's. Each CTE reads the one before it, so that they run in this order.
_REPEATED = text(
    """
    WITH again AS (
        UPDATE marketing_clicks SET clicks = clicks + 1 WHERE send_id = :send_id AND number = :number
        RETURNING send_id, number
    ),
    send AS (
        UPDATE marketing_sends s SET link_requested_at = clock_timestamp() FROM again WHERE s.id = again.send_id
        RETURNING again.number
    )
    UPDATE marketing_links l SET total_clicks = total_clicks + 1 FROM send
    WHERE l.campaign_id = :campaign_id AND l.number = send.number
    """
)


async def count_repeated_click(connection: AsyncConnection, *, campaign_id: UUID, send_id: UUID, number: int) -> bool:
    """Count a click on a link that was clicked before in this send. False, and nothing is counted, if it was not."""
    key = {"campaign_id": campaign_id, "send_id": send_id, "number": number}
    return bool((await connection.execute(_REPEATED, key)).rowcount)


_BY_A_MACHINE = text(
    """
    WITH send AS (
        UPDATE marketing_sends SET link_requested_at = clock_timestamp() WHERE id = :send_id RETURNING campaign_id
    )
    UPDATE marketing_links l SET machine_clicks = machine_clicks + 1 FROM send
    WHERE l.campaign_id = send.campaign_id AND l.number = :number
    """
)


async def count_machine_click(connection: AsyncConnection, *, send_id: UUID, number: int) -> None:
    """Count that a machine has followed the link."""
    await connection.execute(_BY_A_MACHINE, {"send_id": send_id, "number": number})
