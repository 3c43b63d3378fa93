"""A look at a launch beforehand: ask for a check, read its report, and heed it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.campaigns.validation import validate_for_launch
from marketing_service.errors import NotFound, PreflightFoundErrors
from marketing_service.store import preflights as store

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.settings import Settings
    from marketing_service.store.campaigns import Campaign
    from marketing_service.store.preflights import Preflight


async def request(
    transactions: Transactions,
    job_queue: JobQueue,
    settings: Settings,
    *,
    org_id: str,
    campaign_id: UUID,
    requested_by: str,
) -> Preflight:
    """Have a DRAFT checked as it is now; where that is under way already, it goes on.

    Raises NotFound, WrongState, StaleVersion, and InvalidInput where a launch would be refused at once.
    """
    async with transactions(org_id) as tx:
        before = await drafts.editable(tx, org_id, campaign_id, None)
    await validate_for_launch(before, settings)
    async with transactions(org_id) as tx:
        await drafts.editable(tx, org_id, campaign_id, {before.version})
        epoch = await store.request_preflight(
            tx.connection,
            org_id=org_id,
            campaign_id=campaign_id,
            version=before.version,
            requested_by=requested_by,
        )
        if epoch is not None:
            tx.after_commit(partial(job_queue.enqueue_preflight, campaign_id, epoch))
        return await get(tx, org_id, campaign_id)


async def get(tx: Transaction, org_id: str, campaign_id: UUID) -> Preflight:
    """The campaign's last check. Raises NotFound."""
    check = await store.find_preflight(tx.connection, org_id=org_id, campaign_id=campaign_id)
    if check is None:
        await drafts.get(tx, org_id, campaign_id)
        raise NotFound("This campaign has not been checked.")
    return check


async def refuse_errors(tx: Transaction, campaign: Campaign) -> None:
    """Raises PreflightFoundErrors where the campaign, as it is now, was checked and has errors."""
    errors = await store.errors_found(
        tx.connection, org_id=campaign.org_id, campaign_id=campaign.id, version=campaign.version
    )
    if errors:
        raise PreflightFoundErrors(
            f"The check of this version found {errors} error{'' if errors == 1 else 's'}: read them under /check, then"
            ' mend the campaign, or launch it with {"force": true}.'
        )
