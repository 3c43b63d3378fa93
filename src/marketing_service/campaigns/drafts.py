"""Drafts: create, read, change, delete, duplicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from marketing_service.campaigns.audit import audience_details, changed_fields, record
from marketing_service.campaigns.validation import validate_statuses, validated
from marketing_service.errors import FieldError, InvalidInput, NotFound, StaleVersion, WrongState
from marketing_service.ports import Audience
from marketing_service.store import campaigns
from marketing_service.store.audit import Action
from marketing_service.store.campaigns import Content
from marketing_service.store.states import CampaignStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from marketing_service.campaigns.rules import CampaignRules, SenderRules
    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.languages import Language
    from marketing_service.ports import AudienceSource
    from marketing_service.store.audit import Actor
    from marketing_service.store.campaigns import Campaign, CampaignKey, Overview, StatsSnapshot
    from marketing_service.store.page import Page

MAX_NAME = 200
EVERYBODY = Audience()
_NO_CAMPAIGN = "There is no such campaign. Check the id."


@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a new campaign. Without `from_email` or `language`, it gets the default of the installation."""

    name: str
    subject: str
    from_name: str | None = None
    from_email: str | None = None
    reply_to: str | None = None
    html_body: str | None = None
    text_body: str | None = None
    audience: Audience = EVERYBODY
    track_clicks: bool = False
    language: Language | None = None
    preheader: str | None = None


async def create(
    transactions: Transactions,
    source: AudienceSource,
    rules: CampaignRules,
    *,
    actor: Actor,
    draft: Draft,
    on_result: OnResult[Campaign] | None = None,
) -> Campaign:
    """Save a new DRAFT, and call `on_result` in the same transaction. Raises InvalidInput, or Unavailable (the CRM, if
    the audience names statuses)."""
    content = Content(
        name=draft.name,
        from_name=draft.from_name,
        from_email=_default_sender(rules.sender) if draft.from_email is None else draft.from_email,
        reply_to=draft.reply_to,
        subject=draft.subject,
        html_body=draft.html_body,
        text_body=draft.text_body,
        audience=draft.audience,
        track_clicks=draft.track_clicks,
        language=draft.language or rules.default_language,
        preheader=draft.preheader,
    )
    fields = [name for name in draft.__slots__ if getattr(draft, name) is not None]
    content = await validated(content, {*fields, "from_email"}, actor.org_id, rules)
    await validate_statuses(content.audience, source, actor.org_id)
    async with transactions(actor.org_id) as tx:
        campaign = await campaigns.add(tx.connection, actor.org_id, content, created_by=actor.subject)
        await _record_created(tx, actor, campaign)
        if on_result is not None:
            await on_result(tx, campaign)
        return campaign


async def get(tx: Transaction, org_id: str, campaign_id: UUID) -> Campaign:
    """The campaign. Raises NotFound."""
    return _existing(await campaigns.find(tx.connection, org_id, campaign_id))


async def stats(tx: Transaction, org_id: str, campaign_id: UUID) -> StatsSnapshot:
    """The state and the counters of the campaign. Raises NotFound."""
    found = await campaigns.find_stats(tx.connection, org_id, campaign_id)
    if found is None:
        raise NotFound(_NO_CAMPAIGN)
    return found


async def newest_first(
    tx: Transaction,
    org_id: str,
    *,
    statuses: Collection[CampaignStatus],
    name_prefix: str | None,
    after: CampaignKey | None,
    limit: int,
) -> Page[Campaign, CampaignKey]:
    """A page of the campaigns of the organisation with one of `statuses` (empty: any status), newest first."""
    return await campaigns.newest_first(
        tx.connection, org_id, statuses=statuses, name_prefix=name_prefix, after=after, limit=limit
    )


async def overview(tx: Transaction, org_id: str) -> Overview:
    """The number of campaigns of the organisation, by status, and their average open rate."""
    return await campaigns.overview(tx.connection, org_id)


async def change(
    transactions: Transactions,
    source: AudienceSource,
    rules: CampaignRules,
    *,
    actor: Actor,
    campaign_id: UUID,
    changes: Mapping[str, Any],
    versions: Collection[int] | None = None,
) -> Campaign:
    """Write `changes` (field of Content → value) into a DRAFT, if its version is one of `versions` (None: any version).

    Raises NotFound, WrongState, StaleVersion, InvalidInput, or Unavailable (the CRM, if the audience names statuses).
    """
    async with transactions(actor.org_id) as tx:
        before = await editable(tx, actor.org_id, campaign_id, versions)
    if not changes:
        return before
    content = await validated(replace(before.content, **changes), changes.keys(), actor.org_id, rules)
    if "audience" in changes:
        await validate_statuses(content.audience, source, actor.org_id)
    written = {field: getattr(content, field) for field in changes}
    async with transactions(actor.org_id) as tx:
        campaign = await editable(tx, actor.org_id, campaign_id, versions)
        changed = await campaigns.replace_content(tx.connection, campaign, replace(campaign.content, **written))
        fields = changed_fields(campaign.content, changed.content)
        await record(tx, actor, Action.CHANGED, campaign_id, version=changed.version, fields=fields)
        return changed


async def remove(tx: Transaction, actor: Actor, campaign_id: UUID, *, versions: Collection[int] | None = None) -> None:
    """Delete a DRAFT or FAILED campaign. Neither has sends. Raises NotFound, WrongState, StaleVersion."""
    campaign = await lock(tx, actor.org_id, campaign_id)
    if campaign.status not in {CampaignStatus.DRAFT, CampaignStatus.FAILED}:
        raise WrongState(
            f"This campaign is {campaign.status}. Only a DRAFT or FAILED campaign can be deleted: sends are kept."
        )
    match_version(campaign, versions)
    await campaigns.remove(tx.connection, campaign)
    await record(
        tx,
        actor,
        Action.DELETED,
        campaign_id,
        name=campaign.content.name,
        status=campaign.status,
        version=campaign.version,
    )


async def duplicate(tx: Transaction, actor: Actor, campaign_id: UUID) -> Campaign:
    """A new DRAFT with the same message and audience, from a campaign in any state. Raises NotFound."""
    original = await get(tx, actor.org_id, campaign_id)
    content = replace(original.content, name=f"Copy of {original.content.name}"[:MAX_NAME].rstrip())
    copy = await campaigns.add(tx.connection, actor.org_id, content, created_by=actor.subject)
    await _record_created(tx, actor, copy, copyOf=str(campaign_id))
    return copy


async def lock(tx: Transaction, org_id: str, campaign_id: UUID) -> Campaign:
    """The campaign. Its row is locked until the transaction ends. Raises NotFound."""
    return _existing(await campaigns.find(tx.connection, org_id, campaign_id, for_update=True))


async def editable(tx: Transaction, org_id: str, campaign_id: UUID, versions: Collection[int] | None) -> Campaign:
    """The campaign, locked, if it is a DRAFT of one of `versions` (None: any). Raises NotFound, WrongState,
    StaleVersion."""
    campaign = await lock(tx, org_id, campaign_id)
    if campaign.status is not CampaignStatus.DRAFT:
        raise WrongState(f"This campaign is {campaign.status}. Only a DRAFT can be edited, scheduled or launched.")
    match_version(campaign, versions)
    return campaign


def match_version(campaign: Campaign, versions: Collection[int] | None) -> None:
    """None accepts any version. Raises StaleVersion."""
    if versions is not None and campaign.version not in versions:
        raise StaleVersion(
            f"The campaign was changed: its version is now {campaign.version}. Read it again, then repeat your change."
        )


async def _record_created(tx: Transaction, actor: Actor, campaign: Campaign, **more: str) -> None:
    audience = audience_details(campaign.content.audience)
    await record(tx, actor, Action.CREATED, campaign.id, name=campaign.content.name, audience=audience, **more)


def _existing(campaign: Campaign | None) -> Campaign:
    if campaign is None:
        raise NotFound(_NO_CAMPAIGN)
    return campaign


def _default_sender(rules: SenderRules) -> str:
    if rules.default_address is None:
        raise InvalidInput(
            FieldError("fromEmail", "is required, because this installation has no default sender address.", "required")
        )
    return rules.default_address
