"""Preflight requests: request a preflight, read its report, refuse a launch if the report has errors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.campaigns.audit import record
from marketing_service.campaigns.validation import validate_for_launch
from marketing_service.errors import NotFound, PreflightFoundErrors
from marketing_service.store import preflights as store
from marketing_service.store.audit import Action

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.campaigns.rules import CampaignRules
    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import JobQueue
    from marketing_service.store.audit import Actor
    from marketing_service.store.campaigns import Campaign
    from marketing_service.store.preflights import Preflight


async def request(
    transactions: Transactions,
    job_queue: JobQueue,
    rules: CampaignRules,
    *,
    actor: Actor,
    campaign_id: UUID,
) -> Preflight:
    """Request a preflight of the current version of a DRAFT. If one of this version is running, it continues.

    Raises NotFound, WrongState, StaleVersion, and InvalidInput if the draft cannot be launched.
    """
    org_id = actor.org_id
    async with transactions(org_id) as tx:
        before = await drafts.editable(tx, org_id, campaign_id, None)
    await validate_for_launch(before, rules)
    async with transactions(org_id) as tx:
        await drafts.editable(tx, org_id, campaign_id, {before.version})
        epoch = await store.request_preflight(
            tx.connection,
            org_id=org_id,
            campaign_id=campaign_id,
            version=before.version,
            requested_by=actor.subject,
        )
        if epoch is not None:
            await record(tx, actor, Action.CHECKED, campaign_id, version=before.version)
            tx.after_commit(partial(job_queue.enqueue_preflight, campaign_id, epoch))
        return await get(tx, org_id, campaign_id)


async def get(tx: Transaction, org_id: str, campaign_id: UUID) -> Preflight:
    """The last preflight of the campaign. Raises NotFound."""
    preflight = await store.find_preflight(tx.connection, org_id=org_id, campaign_id=campaign_id)
    if preflight is None:
        await drafts.get(tx, org_id, campaign_id)
        raise NotFound("This campaign was not checked. Send a POST to /check first.")
    return preflight


async def refuse_errors(tx: Transaction, campaign: Campaign) -> None:
    """Raises PreflightFoundErrors if the preflight of this version of the campaign found errors."""
    errors = await store.errors_found(
        tx.connection, org_id=campaign.org_id, campaign_id=campaign.id, version=campaign.version
    )
    if errors:
        raise PreflightFoundErrors(
            f"The check of this version found {errors} error{'' if errors == 1 else 's'}. Read the report under /check,"
            ' then correct the campaign, or launch it with {"force": true}.'
        )
