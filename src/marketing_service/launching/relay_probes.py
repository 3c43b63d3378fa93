"""Ends the pauses that the relay caused: probes it, at growing intervals, by one worker at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.ledger.lifecycle import PauseReason, resume_after_relay
from marketing_service.ports import RelayDown
from marketing_service.store import relay_pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from marketing_service.db import Transactions
    from marketing_service.ports import Mailer
    from marketing_service.store.relay_pauses import PausedCampaign, ProbeSchedule

log = structlog.get_logger(__name__)

_MAX_CAMPAIGNS = 100
_LEASE_SECONDS = 120.0
"""Longer than the probes of one round take: connecting and each reply have time limits of their own."""


class RelayProbes:
    """`sender_of` gives the envelope sender of a campaign, from its id and From address."""

    def __init__(
        self,
        transactions: Transactions,
        mailer: Mailer,
        *,
        schedules: Mapping[PauseReason, ProbeSchedule],
        sender_of: Callable[[PausedCampaign], str],
    ) -> None:
        self._transactions = transactions
        self._mailer = mailer
        self._schedules = schedules
        self._sender_of = sender_of

    async def run(self) -> None:
        """Probe for each campaign whose probe is due. Does nothing if another worker probes. Raises Unavailable."""
        async with self._transactions() as tx:
            due = await relay_pauses.campaigns_with_due_probe(tx.connection, limit=_MAX_CAMPAIGNS)
            if not due or not await relay_pauses.lease_probe(tx.connection, seconds=_LEASE_SECONDS):
                return
        try:
            for campaign in due:
                if not await self._probe(campaign):
                    break
        finally:
            async with self._transactions() as tx:
                await relay_pauses.release_probe(tx.connection)

    async def _probe(self, campaign: PausedCampaign) -> bool:
        """Resume the campaign if the relay takes its sender. False if no connection can be opened at all: then the
        other campaigns need no probe now."""
        try:
            refusal = await self._mailer.probe(self._sender_of(campaign))
        except RelayDown as down:
            log.info("relay_still_down", phase=down.phase, detail=down.detail)
            await self._postpone(campaign, down.detail)
            return False
        if refusal is not None:
            log.info("relay_still_refuses", campaign_id=str(campaign.id), reason=campaign.reason, relay=refusal.text)
            await self._postpone(campaign, refusal.text)
            return True
        async with self._transactions() as tx:
            resumed = await resume_after_relay(tx.connection, campaign.id)
        if resumed:
            log.info("campaign_resumed", campaign_id=str(campaign.id), reason=campaign.reason)
        return True

    async def _postpone(self, campaign: PausedCampaign, message: str) -> None:
        schedule = self._schedules[PauseReason(campaign.reason)]
        async with self._transactions() as tx:
            await relay_pauses.postpone_probe(tx.connection, campaign.id, message=message, schedule=schedule)
