"""`reconcile`: counts the sends of each campaign, and corrects counters that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.bootstrap import database_of
from marketing_service.ledger.reconcile import correct, differences, expanded_campaigns

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from marketing_service.settings import Settings


async def reconcile(settings: Settings, campaign_id: UUID | None, *, only_say: bool, say: Callable[[str], None]) -> int:
    """Compare one campaign, or all, and correct them unless `only_say`. Says each difference. Returns the number of
    campaigns that differed, or -1 if the one that is named does not exist. Raises Unavailable.

    It needs the user of the workers, reads every send, and may run at any time. Only a campaign that differs is locked.
    """
    database = database_of(settings, "worker")
    try:
        async with database.transaction() as tx:
            campaigns = [campaign_id] if campaign_id else await expanded_campaigns(tx.connection)
        differing = 0
        for one in campaigns:
            async with database.transaction() as tx:
                found = await differences(tx.connection, one)
                if found is None:
                    say(f"{one}  does not exist")
                    return -1
                if found and not only_say:
                    await correct(tx.connection, one)
            differing += bool(found)
            for name, (counter, sends) in found.items():
                say(f"{one}  {name}: {counter:,} counted, {sends:,} found{'' if only_say else ', corrected'}")
        say(f"{len(campaigns):,} campaigns compared, {differing:,} differed.")
        return differing
    finally:
        await database.close()
