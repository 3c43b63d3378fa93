"""The message of a campaign, as the renderer needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.languages import Language
from marketing_service.rendering import MessageSource
from marketing_service.store.clicks import links_of
from marketing_service.store.states import CampaignStatus

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.rendering import PostalAddresses
    from marketing_service.store.campaigns import Content


def message_source(
    content: Content | Row[Any],
    *,
    org_id: str,
    campaign_id: UUID,
    track_clicks: bool,
    postal_address: str | None,
    known_links: tuple[str, ...] | None = None,
) -> MessageSource:
    """The message that `content` describes: a campaign's content, or a row that has its columns. The campaign's name
    is not part of it, because recipients do not see it."""
    return MessageSource(
        campaign_id=campaign_id,
        org_id=org_id,
        from_name=content.from_name,
        from_email=content.from_email,
        reply_to=content.reply_to,
        subject=content.subject,
        html_body=content.html_body,
        text_body=content.text_body,
        track_clicks=track_clicks,
        known_links=known_links,
        language=Language(content.language),
        postal_address=postal_address,
        preheader=content.preheader,
    )


_MESSAGE = text(
    """
    SELECT org_id, from_name, from_email, reply_to, subject, preheader, html_body, text_body, track_clicks, language,
           postal_address, status, expanded_at
    FROM marketing_campaigns WHERE id = :campaign_id
    """
)


async def find_message(
    connection: AsyncConnection, campaign_id: UUID, *, track_clicks: bool, postal_addresses: PostalAddresses
) -> MessageSource:
    """The message of a campaign that exists. Its links are tracked if `track_clicks` is true and the campaign wants it.
    A draft gets its postal address from `postal_addresses`; other campaigns have the one of their launch.

    An expanded campaign has stored links. Their numbers are kept, whichever version of this service gave them.
    """
    row = (await connection.execute(_MESSAGE, {"campaign_id": campaign_id})).one()
    track_clicks = track_clicks and row.track_clicks
    known = await links_of(connection, campaign_id) if track_clicks and row.expanded_at else None
    is_draft = row.status == CampaignStatus.DRAFT
    return message_source(
        row,
        org_id=row.org_id,
        campaign_id=campaign_id,
        track_clicks=track_clicks,
        postal_address=postal_addresses.of(row.org_id) if is_draft else row.postal_address,
        known_links=None if known is None else tuple(link.url for link in known),
    )
