"""Refuses a launch if the relay would refuse the message for its size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from marketing_service.errors import FieldError, InvalidInput
from marketing_service.ports import RelayDown
from marketing_service.rendering import (
    SAMPLE,
    compile_message,
    larger_body,
    message_octets,
    one_click_possible,
    size_problem,
)
from marketing_service.store import preflights
from marketing_service.store.messages import message_source

if TYPE_CHECKING:
    from marketing_service.campaigns.rules import CampaignRules
    from marketing_service.db import Transactions
    from marketing_service.ports import Mailer, SizeLimit
    from marketing_service.rendering import MessageSource
    from marketing_service.store.campaigns import Campaign

log = structlog.get_logger(__name__)

_ASK_SECONDS = 2.0
"""How long the relay may take to say its limit. The API responds within five seconds."""


async def validate_size(
    transactions: Transactions, mailer: Mailer | None, campaign: Campaign, rules: CampaignRules
) -> None:
    """Raises InvalidInput if the message is larger than the relay accepts now (SIZE, RFC 1870).

    The size is that of the largest message that the preflight of this version rendered, or of the message for the
    sample contact. A relay that does not answer now, or announces no limit, refuses nothing.
    """
    limit = await _size_limit(mailer)
    if limit is None or limit.octets is None:
        return
    source = message_source(
        campaign.content,
        org_id=campaign.org_id,
        campaign_id=campaign.id,
        track_clicks=campaign.content.track_clicks,
        postal_address=rules.postal_addresses.of(campaign.org_id),
    )
    octets = await asyncio.to_thread(_sample_octets, source, rules.public_base_url, eight_bit=limit.eight_bit)
    async with transactions(campaign.org_id) as tx:
        seen = await preflights.largest_octets(
            tx.connection,
            org_id=campaign.org_id,
            campaign_id=campaign.id,
            version=campaign.version,
            eight_bit=limit.eight_bit,
        )
    if (largest := max(octets, seen)) > limit.octets:
        raise InvalidInput(FieldError(larger_body(source), size_problem(largest, limit.octets), "message-too-large"))


async def _size_limit(mailer: Mailer | None) -> SizeLimit | None:
    """What the relay says; None if it cannot be asked now."""
    if mailer is None:
        return None
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            return await mailer.message_size_limit()
    except (RelayDown, TimeoutError) as error:
        log.info("relay_size_unknown", error=f"{type(error).__name__}: {error}")
        return None


def _sample_octets(source: MessageSource, public_base_url: str, *, eight_bit: bool) -> int:
    message = compile_message(source, public_base_url=public_base_url, one_click=one_click_possible(public_base_url))
    return message_octets(message, SAMPLE, eight_bit=eight_bit)
