"""A dry run of a launch."""

from fastapi import APIRouter, Depends

from marketing_service.api.dependencies import CampaignId, Dependencies, Reader, Writer, no_query
from marketing_service.api.openapi_responses import responses
from marketing_service.api.responses import CheckResponse
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import preflight_requests

router = APIRouter(tags=["life"], dependencies=[Depends(no_query)])


@router.post(
    ONE + "/check",
    status_code=202,
    operation_id="checkCampaign",
    response_description="It is being checked.",
    summary="Look over a draft and its whole audience before its launch",
    responses=responses(404, 409, 412),
)
async def check_campaign(dependencies: Dependencies, caller: Writer, campaign_id: CampaignId) -> CheckResponse:
    """Takes the place of the check before; one of the same version that is under way goes on. What a launch would
    refuse at once is refused here too."""
    check = await preflight_requests.request(
        dependencies.transactions,
        dependencies.job_queue,
        dependencies.settings,
        org_id=caller.org_id,
        campaign_id=campaign_id,
        requested_by=caller.subject,
    )
    return CheckResponse.of(check)


@router.get(
    ONE + "/check",
    operation_id="getCheck",
    response_description="The check.",
    summary="Read how far the check has come, and what it found",
    responses=responses(404),
)
async def get_check(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> CheckResponse:
    """404 also where the campaign has not been checked."""
    async with dependencies.transactions(caller.org_id) as tx:
        return CheckResponse.of(await preflight_requests.get(tx, caller.org_id, campaign_id))
