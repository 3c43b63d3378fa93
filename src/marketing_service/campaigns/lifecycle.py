"""The lifecycle of a campaign: launch, pause, resume, cancel; and the preview of its message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from marketing_service.campaigns import drafts
from marketing_service.campaigns.audit import audience_details, record
from marketing_service.campaigns.message_size import validate_size
from marketing_service.campaigns.preflight_requests import refuse_errors
from marketing_service.campaigns.schedule import schedule_details
from marketing_service.campaigns.validation import (
    crm_unavailable,
    postal_address,
    previewed,
    validate_for_launch,
    validate_statuses,
    validated,
)
from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.ledger import lifecycle as ledger
from marketing_service.ports import Audience, AudienceError
from marketing_service.rendering import SAMPLE, MergeFields
from marketing_service.store.audit import Action
from marketing_service.store.campaigns import Content

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.campaigns.rules import CampaignRules
    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.languages import Language
    from marketing_service.ports import AudienceSource, JobQueue, Mailer
    from marketing_service.rendering import Preview
    from marketing_service.store.audit import Actor
    from marketing_service.store.campaigns import Campaign, Schedule

log = structlog.get_logger(__name__)

_SKIP_SECONDS = 1.5
"""How long the request that cancels skips waiting sends. The API responds within five seconds."""
# An unsaved message has no sender and no campaign. A preview shows neither, so placeholders are enough.
_NO_SENDER = "nobody@example.com"
_NO_CAMPAIGN = UUID(int=0)


async def launch(
    transactions: Transactions,
    source: AudienceSource,
    job_queue: JobQueue,
    rules: CampaignRules,
    *,
    mailer: Mailer | None,
    actor: Actor,
    campaign_id: UUID,
    audience: Audience | None = None,
    versions: Collection[int] | None = None,
    force: bool = False,
    schedule: Schedule | None = None,
    on_result: OnResult[Campaign] | None = None,
) -> Campaign:
    """DRAFT → SENDING, with another audience if one is given; the expansion follows. Calls `on_result` in the same
    transaction. `schedule`: the schedule by which the service itself launches; a launch by a user ends the schedule.

    Raises NotFound, WrongState, StaleVersion, InvalidInput (for the size of the message, unless `force`),
    PreflightFoundErrors (unless `force`), or Unavailable (the CRM, if `audience` names statuses).
    """
    org_id = actor.org_id
    async with transactions(org_id) as tx:
        before = await drafts.editable(tx, org_id, campaign_id, versions)
    await validate_for_launch(before, rules)
    if audience is not None:
        await validate_statuses(audience, source, org_id)
    if not force:
        await validate_size(transactions, mailer, before, rules)
    async with transactions(org_id) as tx:
        # The version that was validated: a change since then has another version.
        campaign = await drafts.editable(tx, org_id, campaign_id, {before.version})
        if not force:
            await refuse_errors(tx, campaign)
        await ledger.launch(
            tx.connection,
            campaign_id,
            audience=audience,
            postal_address=rules.postal_addresses.of(org_id),
            by_schedule=schedule is not None,
        )
        tx.after_commit(lambda: job_queue.enqueue_expansion(campaign_id, epoch=0))
        campaign = await drafts.get(tx, org_id, campaign_id)
        await record(
            tx,
            actor,
            Action.LAUNCHED,
            campaign_id,
            audience=audience_details(campaign.content.audience),
            version=before.version,
            force=force,
            **({} if schedule is None else schedule_details(schedule)),
        )
        if on_result is not None:
            await on_result(tx, campaign)
        return campaign


async def pause(tx: Transaction, actor: Actor, campaign_id: UUID) -> Campaign:
    """Stop sending until `resume`. Raises NotFound, WrongState."""

    def by_user(conn: AsyncConnection, campaign_id: UUID) -> Awaitable[bool]:
        return ledger.pause(conn, campaign_id, ledger.PauseReason.USER)

    return await _move(by_user, Action.PAUSED, tx, actor, campaign_id)


async def resume(tx: Transaction, actor: Actor, campaign_id: UUID) -> Campaign:
    """Continue after a pause. The next sweep enqueues the waiting batches. Raises NotFound, WrongState."""
    return await _move(ledger.resume, Action.RESUMED, tx, actor, campaign_id)


async def cancel(transactions: Transactions, actor: Actor, campaign_id: UUID) -> Campaign:
    """Stop sending for ever: no more sends are marked once the first transaction is committed. Raises NotFound,
    WrongState, and Unavailable if that transaction fails.

    The second one skips waiting sends. If it fails or takes too long, the campaign is cancelled all the same, and the
    sweep skips them.
    """
    async with transactions(actor.org_id) as tx:
        campaign = await _move(ledger.cancel, Action.CANCELLED, tx, actor, campaign_id)
    try:
        async with asyncio.timeout(_SKIP_SECONDS), transactions(actor.org_id) as tx:
            await drafts.lock(tx, actor.org_id, campaign_id)
            await ledger.skip_cancelled(tx.connection, campaign_id, limit=ledger.CANCEL_AT_ONCE)
            return await drafts.get(tx, actor.org_id, campaign_id)
    except (Unavailable, TimeoutError):
        log.info("cancel_continues", campaign_id=str(campaign_id))
        return campaign


async def preview(
    transactions: Transactions,
    source: AudienceSource,
    rules: CampaignRules,
    *,
    org_id: str,
    campaign_id: UUID,
    contact_id: str | None,
) -> Preview:
    """The message for this contact, or for the sample recipient without one. Its unsubscribe link does nothing.
    Raises NotFound, InvalidInput if there is no body, or Unavailable (the CRM, if a contact is named)."""
    async with transactions(org_id) as tx:
        campaign = await drafts.get(tx, org_id, campaign_id)
    fields = await _merge_fields(source, org_id, contact_id)
    return await previewed(
        campaign.content,
        fields,
        rules,
        org_id=org_id,
        campaign_id=campaign_id,
        postal_address=postal_address(campaign, rules),
    )


async def preview_unsaved(
    source: AudienceSource,
    rules: CampaignRules,
    *,
    org_id: str,
    subject: str | None,
    html_body: str | None,
    text_body: str | None,
    language: Language | None,
    preheader: str | None,
    contact_id: str | None,
) -> Preview:
    """As `preview`, for an unsaved message. The subject may be missing.
    Raises InvalidInput, NotFound (the contact), or Unavailable (the CRM, if a contact is named)."""
    content = Content(
        name="",
        from_name=None,
        from_email=_NO_SENDER,
        reply_to=None,
        subject=subject or "",
        html_body=html_body,
        text_body=text_body,
        audience=Audience(),
        language=language or rules.default_language,
        preheader=preheader,
    )
    written = {"html_body", "text_body", "preheader"} | ({"subject"} if subject is not None else set())
    content = await validated(content, written, org_id, rules)
    fields = await _merge_fields(source, org_id, contact_id)
    return await previewed(
        content,
        fields,
        rules,
        org_id=org_id,
        campaign_id=_NO_CAMPAIGN,
        postal_address=rules.postal_addresses.of(org_id),
    )


async def _merge_fields(source: AudienceSource, org_id: str, contact_id: str | None) -> MergeFields:
    if contact_id is None:
        return SAMPLE
    try:
        contact = await source.contact(org_id, contact_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    if contact is None:
        raise NotFound("There is no such contact in the CRM. Check the id.")
    return MergeFields(
        email=contact.email,
        first_name=contact.first_name,
        last_name=contact.last_name,
        company_name=contact.company_name,
    )


async def _move(
    move: Callable[[AsyncConnection, UUID], Awaitable[bool]],
    action: Action,
    tx: Transaction,
    actor: Actor,
    campaign_id: UUID,
) -> Campaign:
    # Checks the organisation first: the statements of the ledger find campaigns by id alone.
    before = await drafts.lock(tx, actor.org_id, campaign_id)
    if not await move(tx.connection, campaign_id):
        cancelled = " and cancelled" if before.cancelled_at is not None else ""
        raise WrongState(
            f"This campaign is {before.status}{cancelled}. Only a SENDING campaign can be paused, resumed or cancelled."
        )
    after = await drafts.get(tx, actor.org_id, campaign_id)
    # A second pause, resume or cancel changes nothing that a person can see, so it is not an act.
    if _pause_and_cancel(before) != _pause_and_cancel(after):
        # The reason of the pause that begins, or of the one that ends.
        reason = after.pause_reason or before.pause_reason
        await record(tx, actor, action, campaign_id, **({} if reason is None else {"pauseReason": reason}))
    return after


def _pause_and_cancel(campaign: Campaign) -> tuple[datetime | None, str | None, datetime | None]:
    return campaign.paused_at, campaign.pause_reason, campaign.cancelled_at
