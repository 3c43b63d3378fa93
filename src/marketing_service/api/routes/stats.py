"""Stats of one campaign and of all campaigns."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import CampaignId, Dependencies, Reader, no_query
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import TimelineQuery
from marketing_service.api.responses import CampaignStatsResponse, OverviewResponse
from marketing_service.api.responses_engagement import (
    LinkResponse,
    LinksResponse,
    ReasonResponse,
    ReasonsResponse,
    TimelineResponse,
)
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import drafts, engagement

router = APIRouter(route_class=AuthenticatedRoute, tags=["stats"])
_plain = [Depends(no_query)]


@router.get(
    ONE + "/stats",
    operation_id="getCampaignStats",
    response_description="The stats.",
    summary="Read the stats of a campaign",
    dependencies=_plain,
    response_model_exclude_none=True,
    responses=responses(404),
)
async def get_campaign_stats(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId
) -> CampaignStatsResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        return CampaignStatsResponse.of(await drafts.stats(tx, caller.org_id, campaign_id))


@router.get(
    ONE + "/reasons",
    operation_id="listCampaignReasons",
    response_description="The reasons, the most frequent first.",
    summary="Read why sends failed, were skipped or are deferred",
    dependencies=_plain,
    responses=responses(404),
)
async def list_campaign_reasons(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> ReasonsResponse:
    """For each of these states, the sum of `sends` is equal to `stats`. At most 200 reasons are listed."""
    async with dependencies.transactions(caller.org_id) as tx:
        reasons = await engagement.reasons(tx, caller.org_id, campaign_id)
    return ReasonsResponse(items=[ReasonResponse.of(reason) for reason in reasons])


@router.get(
    ONE + "/links",
    operation_id="listCampaignLinks",
    response_description="The links, by number.",
    summary="Read the clicks on each link of a campaign",
    dependencies=_plain,
    responses=responses(404),
)
async def list_campaign_links(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> LinksResponse:
    """The list is empty before the recipient list is complete, and without `trackClicks`. Only the first 500 different
    links of a message are tracked."""
    async with dependencies.transactions(caller.org_id) as tx:
        links = await engagement.links(tx, caller.org_id, campaign_id)
    return LinksResponse(items=[LinkResponse.of(link) for link in links])


@router.get(
    ONE + "/timeline",
    operation_id="getCampaignTimeline",
    response_description="The timeline.",
    summary="Read the events of a campaign over time, for a chart",
    responses=responses(404),
)
async def get_campaign_timeline(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, query: Annotated[TimelineQuery, Query()]
) -> TimelineResponse:
    """Uses the smallest bucket size that needs at most `buckets` buckets; the largest size is one week. The sums are
    equal to `stats`, except `delivered`: a delivery that a bounce or a resend corrected stays in its bucket."""
    async with dependencies.transactions(caller.org_id) as tx:
        return TimelineResponse.of(await engagement.timeline(tx, caller.org_id, campaign_id, max_buckets=query.buckets))


@router.get(
    "/api/marketing/stats",
    operation_id="getOverview",
    response_description="The number of campaigns by status.",
    summary="Count the campaigns of the organisation",
    dependencies=_plain,
    responses=responses(),
)
async def get_overview(dependencies: Dependencies, caller: Reader) -> OverviewResponse:
    """`averageOpenRate` is the mean of the SENT campaigns with at least one delivery; 0 if there are none."""
    async with dependencies.transactions(caller.org_id) as tx:
        return OverviewResponse.of(await drafts.overview(tx, caller.org_id))
