"""The compiled message of each campaign being sent, kept for as long as it is in use."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from sqlalchemy import select

from marketing_service.ledger.tables import campaigns
from marketing_service.rendering import MessageSource, compile_message, one_click_possible

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.rendering import CompiledMessage

_KEPT = 32


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
            compiled = await self.of_current_version(campaign_id)
            self._compiled[campaign_id] = compiled
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(campaign_id)
        return compiled

    async def of_current_version(self, campaign_id: UUID) -> CompiledMessage:
        """The message as it is written now, a draft's too. Raises rendering.TemplateError."""
        async with self._transactions() as tx:
            row = (
                (
                    await tx.connection.execute(
                        select(
                            campaigns.c.org_id,
                            campaigns.c.from_name,
                            campaigns.c.from_email,
                            campaigns.c.reply_to,
                            campaigns.c.subject,
                            campaigns.c.html_body,
                            campaigns.c.text_body,
                        ).where(campaigns.c.id == campaign_id)
                    )
                )
                .mappings()
                .one()
            )
        source = MessageSource(campaign_id=campaign_id, **row)
        return compile_message(
            source, public_base_url=self._public_base_url, one_click=one_click_possible(self._public_base_url)
        )
