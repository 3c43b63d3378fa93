"""A look at a launch beforehand: ask for a check, read its report, and heed it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.campaigns.validation import check_ready
from marketing_service.errors import CheckFoundErrors, NotFound
from marketing_service.store import preflights as ledger

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import Doorbell
    from marketing_service.settings import Settings
    from marketing_service.store.model import Campaign
    from marketing_service.store.preflights import Check


async def request(
    transactions: Transactions,
    doorbell: Doorbell,
    settings: Settings,
    *,
    org_id: str,
    campaign_id: UUID,
    requested_by: str,
) -> Check:
    """Have a DRAFT checked as it is now; where that is under way already, it goes on.

    Raises NotFound, WrongState, StaleVersion, and InvalidInput where a launch would be refused at once.
    """
    async with transactions(org_id) as tx:
        before = await drafts.editable(tx, org_id, campaign_id, None)
    await check_ready(before, settings)
    async with transactions(org_id) as tx:
        await drafts.editable(tx, org_id, campaign_id, {before.version})
        epoch = await ledger.request_check(
            tx.connection,
            org_id=org_id,
            campaign_id=campaign_id,
            version=before.version,
            requested_by=requested_by,
        )
        if epoch is not None:
            tx.after_commit(partial(doorbell.ring_check, campaign_id, epoch))
        return await get(tx, org_id, campaign_id)


async def get(tx: Transaction, org_id: str, campaign_id: UUID) -> Check:
    """The campaign's last check. Raises NotFound."""
    check = await ledger.find_check(tx.connection, org_id=org_id, campaign_id=campaign_id)
    if check is None:
        await drafts.get(tx, org_id, campaign_id)
        raise NotFound("This campaign has not been checked.")
    return check


async def refuse_errors(tx: Transaction, campaign: Campaign) -> None:
    """Raises CheckFoundErrors where the campaign, as it is now, was checked and has errors."""
    errors = await ledger.errors_found(
        tx.connection, org_id=campaign.org_id, campaign_id=campaign.id, version=campaign.version
    )
    if errors:
        raise CheckFoundErrors(
            f"The check of this version found {errors} error{'' if errors == 1 else 's'}: read them under /check, then"
            ' mend the campaign, or launch it with {"force": true}.'
        )
