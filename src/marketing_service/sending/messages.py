"""The compiled message of each campaign being sent, kept for as long as it is in use."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from sqlalchemy import select

from marketing_service.ledger.clicks import links_of
from marketing_service.rendering import MessageSource, compile_message, one_click_possible
from marketing_service.store.tables import campaigns

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.rendering import CompiledMessage

_KEPT = 32
_COLUMNS = [
    campaigns.c[name]
    for name in (
        *("org_id", "from_name", "from_email", "reply_to", "subject", "html_body", "text_body"),
        *("track_clicks", "expanded_at"),
    )
]


class Messages:
    """Compiles a campaign's message once per process: from its launch on it cannot change."""

    def __init__(self, transactions: Transactions, *, public_base_url: str) -> None:
        self._transactions = transactions
        self._public_base_url = public_base_url
        self._compiled: OrderedDict[UUID, CompiledMessage] = OrderedDict()

    async def of_launched(self, campaign_id: UUID) -> CompiledMessage:
        """The message of a campaign that is no draft any more. Raises rendering.TemplateError."""
        compiled = self._compiled.get(campaign_id)
        if compiled is None:
            compiled = await self._compiled_now(campaign_id, track_clicks=True)
            self._compiled[campaign_id] = compiled
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(campaign_id)
        return compiled

    async def of_current_version(self, campaign_id: UUID) -> CompiledMessage:
        """The message as it is written now, a draft's too, with its links as they are. Raises
        rendering.TemplateError."""
        return await self._compiled_now(campaign_id, track_clicks=False)

    async def _compiled_now(self, campaign_id: UUID, *, track_clicks: bool) -> CompiledMessage:
        async with self._transactions() as tx:
            row = (await tx.connection.execute(select(*_COLUMNS).where(campaigns.c.id == campaign_id))).one()
            track_clicks = track_clicks and row.track_clicks
            # Once the list stands the numbers do too, whichever version of this service gave them.
            known = await links_of(tx.connection, campaign_id) if track_clicks and row.expanded_at else None
        source = MessageSource(
            campaign_id=campaign_id,
            org_id=row.org_id,
            from_name=row.from_name,
            from_email=row.from_email,
            reply_to=row.reply_to,
            subject=row.subject,
            html_body=row.html_body,
            text_body=row.text_body,
            track_clicks=track_clicks,
            known_links=None if known is None else tuple(link.url for link in known),
        )
        return compile_message(
            source, public_base_url=self._public_base_url, one_click=one_click_possible(self._public_base_url)
        )
