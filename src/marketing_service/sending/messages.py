"""The compiled message of each campaign being sent, kept for as long as it is in use."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from marketing_service.rendering import NO_POSTAL_ADDRESSES, compile_message, one_click_possible
from marketing_service.store.messages import find_message

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.rendering import CompiledMessage, PostalAddresses

_KEPT = 32


class Messages:
    """Compiles a campaign's message once per process: from its launch on it cannot change."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        public_base_url: str,
        postal_addresses: PostalAddresses = NO_POSTAL_ADDRESSES,
    ) -> None:
        self._transactions = transactions
        self._public_base_url = public_base_url
        self._postal_addresses = postal_addresses
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
            source = await find_message(
                tx.connection, campaign_id, track_clicks=track_clicks, postal_addresses=self._postal_addresses
            )
        # In a thread: compiling a large template takes a while, and the event loop is sending others.
        return await asyncio.to_thread(
            compile_message,
            source,
            public_base_url=self._public_base_url,
            one_click=one_click_possible(self._public_base_url),
        )
