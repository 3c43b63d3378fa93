"""Figures over campaigns, and the statuses an audience can name."""

from fastapi import APIRouter, Depends

from marketing_service.api.answers import ContactStatusAnswer, ContactStatuses, OverviewAnswer, ProgressAnswer
from marketing_service.api.dependencies import CampaignId, Parts, Reader, no_query
from marketing_service.api.documented import answers
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import drafts
from marketing_service.campaigns.checks import crm_unavailable
from marketing_service.ports import AudienceError

router = APIRouter(tags=["figures"], dependencies=[Depends(no_query)])


@router.get(
    ONE + "/stats",
    operation_id="getCampaignStats",
    response_description="The figures.",
    summary="Read how far a campaign has come",
    response_model_exclude_none=True,
    responses=answers(404),
)
async def get_campaign_stats(parts: Parts, caller: Reader, campaign_id: CampaignId) -> ProgressAnswer:
    async with parts.transactions(caller.org_id) as tx:
        return ProgressAnswer.of(await drafts.progress(tx, caller.org_id, campaign_id))


@router.get(
    "/api/marketing/stats",
    operation_id="getOverview",
    response_description="The counts.",
    summary="Count the organisation's campaigns",
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
    responses=answers(),
)
async def list_contact_statuses(parts: Parts, caller: Reader) -> ContactStatuses:
    try:
        statuses = await parts.audience.statuses(caller.org_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    return ContactStatuses(items=[ContactStatusAnswer(value=s.value, label=s.label) for s in statuses])
