"""Figures over campaigns, and the statuses an audience can name."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from marketing_service.api.dependencies import CampaignId, Parts, Reader, no_query
from marketing_service.api.openapi_responses import answers
from marketing_service.api.requests import TimelineQuery
from marketing_service.api.responses import ContactStatusAnswer, ContactStatuses, OverviewAnswer, ProgressAnswer
from marketing_service.api.responses_engagement import LinkAnswer, LinksAnswer, TimelineAnswer
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import drafts, engagement
from marketing_service.campaigns.validation import crm_unavailable
from marketing_service.ports import AudienceError

router = APIRouter(tags=["figures"])
_plain = [Depends(no_query)]


@router.get(
    ONE + "/stats",
    operation_id="getCampaignStats",
    response_description="The figures.",
    summary="Read how far a campaign has come",
    dependencies=_plain,
    response_model_exclude_none=True,
    responses=answers(404),
)
async def get_campaign_stats(parts: Parts, caller: Reader, campaign_id: CampaignId) -> ProgressAnswer:
    async with parts.transactions(caller.org_id) as tx:
        return ProgressAnswer.of(await drafts.progress(tx, caller.org_id, campaign_id))


@router.get(
    ONE + "/links",
    operation_id="listCampaignLinks",
    response_description="The links, by number.",
    summary="Read how often each link of a campaign was followed",
    dependencies=_plain,
    responses=answers(404),
)
async def list_campaign_links(parts: Parts, caller: Reader, campaign_id: CampaignId) -> LinksAnswer:
    """There are none before the list of recipients stands, or without `trackClicks`. Only the first 500 different
    links of a message are tracked."""
    async with parts.transactions(caller.org_id) as tx:
        links = await engagement.links(tx, caller.org_id, campaign_id)
    return LinksAnswer(items=[LinkAnswer.of(link) for link in links])


@router.get(
    ONE + "/timeline",
    operation_id="getCampaignTimeline",
    response_description="The timeline.",
    summary="Read what happened since a campaign's launch, for a chart",
    responses=answers(404),
)
async def get_campaign_timeline(
    parts: Parts, caller: Reader, campaign_id: CampaignId, query: Annotated[TimelineQuery, Query()]
) -> TimelineAnswer:
    """The buckets are the smallest of which no more than `buckets` are needed; weeks are the largest there are. The
    sums are those of `stats`, but for deliveries: one that a bounce or a resend took back stays where it was."""
    async with parts.transactions(caller.org_id) as tx:
        return TimelineAnswer.of(await engagement.timeline(tx, caller.org_id, campaign_id, most=query.buckets))


@router.get(
    "/api/marketing/stats",
    operation_id="getOverview",
    response_description="The counts.",
    summary="Count the organisation's campaigns",
    dependencies=_plain,
    responses=answers(),
)
async def get_overview(parts: Parts, caller: Reader) -> OverviewAnswer:
    """`averageOpenRate` is the mean over SENT campaigns that delivered something, 0 where there is none."""
    async with parts.transactions(caller.org_id) as tx:
        return OverviewAnswer.of(await drafts.overview(tx, caller.org_id))


@router.get(
    "/api/marketing/contact-statuses",
    operation_id="listContactStatuses",
    response_description="The statuses, in the CRM's order.",
    summary="List the statuses a contact of the CRM can have",
    dependencies=_plain,
    responses=answers(),
)
async def list_contact_statuses(parts: Parts, caller: Reader) -> ContactStatuses:
    try:
        statuses = await parts.audience.statuses(caller.org_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    return ContactStatuses(items=[ContactStatusAnswer(value=s.value, label=s.label) for s in statuses])
