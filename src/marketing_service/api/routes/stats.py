"""CampaignStats over campaigns, and the statuses an audience can name."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from marketing_service.api.dependencies import CampaignId, Dependencies, Reader, no_query
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import TimelineQuery
from marketing_service.api.responses import ContactStatuses, ContactStatusResponse, OverviewResponse, ProgressResponse
from marketing_service.api.responses_engagement import LinkResponse, LinksResponse, TimelineResponse
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import drafts, engagement
from marketing_service.campaigns.validation import crm_unavailable
from marketing_service.ports import AudienceError

router = APIRouter(tags=["stats"])
_plain = [Depends(no_query)]


@router.get(
    ONE + "/stats",
    operation_id="getCampaignStats",
    response_description="The figures.",
    summary="Read how far a campaign has come",
    dependencies=_plain,
    response_model_exclude_none=True,
    responses=responses(404),
)
async def get_campaign_stats(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> ProgressResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        return ProgressResponse.of(await drafts.progress(tx, caller.org_id, campaign_id))


@router.get(
    ONE + "/links",
    operation_id="listCampaignLinks",
    response_description="The links, by number.",
    summary="Read how often each link of a campaign was followed",
    dependencies=_plain,
    responses=responses(404),
)
async def list_campaign_links(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> LinksResponse:
    """There are none before the list of recipients stands, or without `trackClicks`. Only the first 500 different
    links of a message are tracked."""
    async with dependencies.transactions(caller.org_id) as tx:
        links = await engagement.links(tx, caller.org_id, campaign_id)
    return LinksResponse(items=[LinkResponse.of(link) for link in links])


@router.get(
    ONE + "/timeline",
    operation_id="getCampaignTimeline",
    response_description="The timeline.",
    summary="Read what happened since a campaign's launch, for a chart",
    responses=responses(404),
)
async def get_campaign_timeline(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, query: Annotated[TimelineQuery, Query()]
) -> TimelineResponse:
    """The buckets are the smallest of which no more than `buckets` are needed; weeks are the largest there are. The
    sums are those of `stats`, but for deliveries: one that a bounce or a resend took back stays where it was."""
    async with dependencies.transactions(caller.org_id) as tx:
        return TimelineResponse.of(await engagement.timeline(tx, caller.org_id, campaign_id, most=query.buckets))


@router.get(
    "/api/marketing/stats",
    operation_id="getOverview",
    response_description="The counts.",
    summary="Count the organisation's campaigns",
    dependencies=_plain,
    responses=responses(),
)
async def get_overview(dependencies: Dependencies, caller: Reader) -> OverviewResponse:
    """`averageOpenRate` is the mean over SENT campaigns that delivered something, 0 where there is none."""
    async with dependencies.transactions(caller.org_id) as tx:
        return OverviewResponse.of(await drafts.overview(tx, caller.org_id))


@router.get(
    "/api/marketing/contact-statuses",
    operation_id="listContactStatuses",
    response_description="The statuses, in the CRM's order.",
    summary="List the statuses a contact of the CRM can have",
    dependencies=_plain,
    responses=responses(),
)
async def list_contact_statuses(dependencies: Dependencies, caller: Reader) -> ContactStatuses:
    try:
        statuses = await dependencies.audience.statuses(caller.org_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    return ContactStatuses(items=[ContactStatusResponse(value=s.value, label=s.label) for s in statuses])
