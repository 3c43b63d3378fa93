"""`cancel`: ends campaigns before any worker continues them, for example on a restored copy of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.bootstrap import database_of
from marketing_service.campaigns import lifecycle
from marketing_service.errors import NotFound, WrongState
from marketing_service.store.audit import SYSTEM, Actor
from marketing_service.store.campaigns import sending_campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from uuid import UUID

    from marketing_service.settings import Settings


async def cancel(settings: Settings, wanted: Collection[UUID] | None, *, say: Callable[[str], None]) -> int:
    """Cancel these campaigns, or with None all that are SENDING, of every organisation. Says each of them. Returns how
    many of `wanted` cannot be cancelled. Raises Unavailable.

    It needs the user of the workers. Waiting sends that are left are skipped by the workers' sweep.
    """
    database = database_of(settings, "worker")
    try:
        async with database.transaction() as tx:
            sending = dict(await sending_campaigns(tx.connection))
        refused = [campaign_id for campaign_id in wanted or () if campaign_id not in sending]
        for campaign_id in refused:
            say(f"{campaign_id}  is not SENDING, or does not exist")
        for campaign_id, org_id in sending.items():
            if wanted is None or campaign_id in wanted:
                try:
                    campaign = await lifecycle.cancel(database.transaction, Actor(org_id, SYSTEM), campaign_id)
                except (NotFound, WrongState) as error:  # it has ended meanwhile
                    say(f"{campaign_id}  {org_id}  {error}")
                else:
                    say(f"{campaign_id}  {org_id}  cancelled: {campaign.content.name}")
        if not sending:
            say("No campaign is SENDING.")
        return len(refused)
    finally:
        await database.close()
