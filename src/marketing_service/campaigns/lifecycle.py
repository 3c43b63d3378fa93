"""A campaign's life, as an administrator moves it: launch, pause, resume, cancel; and a look at it beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.campaigns import drafts
from marketing_service.campaigns.preflight_requests import refuse_errors
from marketing_service.campaigns.validation import (
    crm_unavailable,
    previewed,
    validate_for_launch,
    validate_statuses,
    validated,
)
from marketing_service.errors import NotFound, WrongState
from marketing_service.ledger import lifecycle as ledger
from marketing_service.ports import Audience, AudienceError
from marketing_service.rendering import SAMPLE, MergeFields
from marketing_service.store.campaigns import Content

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.ports import AudienceSource, JobQueue
    from marketing_service.rendering import Preview
    from marketing_service.settings import Settings
    from marketing_service.store.campaigns import Campaign

# A message that is only looked at has no sender and no campaign yet; neither shows in a preview.
_NOBODY = "nobody@example.com"
_NO_CAMPAIGN = UUID(int=0)


async def launch(
    transactions: Transactions,
    source: AudienceSource,
    job_queue: JobQueue,
    settings: Settings,
    *,
    org_id: str,
    campaign_id: UUID,
    audience: Audience | None = None,
    versions: Collection[int] | None = None,
    force: bool = False,
    on_result: OnResult[Campaign] | None = None,
) -> Campaign:
    """DRAFT → SENDING, with another audience where one is given; the recipients are found afterwards. `also` is
    done in the same transaction.

    Raises NotFound, WrongState, StaleVersion, InvalidInput, PreflightFoundErrors (unless `force`), or Unavailable (the
    CRM, where statuses are named).
    """
    async with transactions(org_id) as tx:
        before = await drafts.editable(tx, org_id, campaign_id, versions)
    await validate_for_launch(before, settings)
    if audience is not None:
        await validate_statuses(audience, source, org_id)
    async with transactions(org_id) as tx:
        # Checked, and still what was checked: a change in between has raised the version.
        campaign = await drafts.editable(tx, org_id, campaign_id, {before.version})
        if not force:
            await refuse_errors(tx, campaign)
        await ledger.launch(tx.connection, campaign_id, audience=audience)
        tx.after_commit(lambda: job_queue.enqueue_expansion(campaign_id, epoch=0))
        campaign = await drafts.get(tx, org_id, campaign_id)
        if on_result is not None:
            await on_result(tx, campaign)
        return campaign


async def pause(tx: Transaction, org_id: str, campaign_id: UUID) -> Campaign:
    """Hand nothing more over. Raises NotFound, WrongState."""

    def by_user(conn: AsyncConnection, campaign_id: UUID) -> Awaitable[bool]:
        return ledger.pause(conn, campaign_id, ledger.PauseReason.USER)

    return await _move(by_user, tx, org_id, campaign_id)


async def resume(tx: Transaction, org_id: str, campaign_id: UUID) -> Campaign:
    """Go on where a pause stopped it; the sweep rings what waits. Raises NotFound, WrongState."""
    return await _move(ledger.resume, tx, org_id, campaign_id)


async def cancel(tx: Transaction, org_id: str, campaign_id: UUID) -> Campaign:
    """Send no more of it, ever. Raises NotFound, WrongState."""
    return await _move(ledger.cancel, tx, org_id, campaign_id)


async def preview(
    transactions: Transactions,
    source: AudienceSource,
    settings: Settings,
    *,
    org_id: str,
    campaign_id: UUID,
    contact_id: str | None,
) -> Preview:
    """The message as this contact, or else a made-up one, would get it; its links lead nowhere.
    Raises NotFound, InvalidInput where there is no body, or Unavailable (the CRM, where a contact is named)."""
    async with transactions(org_id) as tx:
        campaign = await drafts.get(tx, org_id, campaign_id)
    fields = await _merge_fields(source, org_id, contact_id)
    return await previewed(campaign.content, fields, settings, org_id=org_id, campaign_id=campaign_id)


async def preview_unsaved(
    source: AudienceSource,
    settings: Settings,
    *,
    org_id: str,
    subject: str | None,
    html_body: str | None,
    text_body: str | None,
    contact_id: str | None,
) -> Preview:
    """The same of a message that nobody has saved, also of one that has no subject yet.
    Raises InvalidInput, NotFound (the contact), or Unavailable (the CRM, where a contact is named)."""
    content = Content(
        name="",
        from_name=None,
        from_email=_NOBODY,
        reply_to=None,
        subject=subject or "",
        html_body=html_body,
        text_body=text_body,
        audience=Audience(),
    )
    written = {"html_body", "text_body"} | ({"subject"} if subject is not None else set())
    content = await validated(content, written, org_id, settings)
    fields = await _merge_fields(source, org_id, contact_id)
    return await previewed(content, fields, settings, org_id=org_id, campaign_id=_NO_CAMPAIGN)


async def _merge_fields(source: AudienceSource, org_id: str, contact_id: str | None) -> MergeFields:
    if contact_id is None:
        return SAMPLE
    try:
        contact = await source.contact(org_id, contact_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    if contact is None:
        raise NotFound("There is no such contact.")
    return MergeFields(
        email=contact.email,
        first_name=contact.first_name,
        last_name=contact.last_name,
        company_name=contact.company_name,
    )


async def _move(
    move: Callable[[AsyncConnection, UUID], Awaitable[bool]], tx: Transaction, org_id: str, campaign_id: UUID
) -> Campaign:
    # Read under the organisation first: the ledger's statements know campaigns by their id alone.
    before = await drafts.lock(tx, org_id, campaign_id)
    if not await move(tx.connection, campaign_id):
        cancelled = " and cancelled" if before.cancelled_at is not None else ""
        raise WrongState(f"This campaign is {before.status}{cancelled}: only one that is SENDING can be changed so.")
    return await drafts.get(tx, org_id, campaign_id)
