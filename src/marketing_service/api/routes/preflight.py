"""The preflight: a dry run of a launch. The API calls it a check."""

from fastapi import APIRouter, Depends

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import CampaignId, Dependencies, Reader, WritingActor, no_query
from marketing_service.api.openapi_responses import responses
from marketing_service.api.responses_preflight import PreflightResponse
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import preflight_requests

router = APIRouter(route_class=AuthenticatedRoute, tags=["lifecycle"], dependencies=[Depends(no_query)])


@router.post(
    ONE + "/check",
    status_code=202,
    operation_id="checkCampaign",
    response_description="The check was started.",
    summary="Check a draft and its whole audience before the launch",
    responses=responses(404, 409, 412),
)
async def check_campaign(dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId) -> PreflightResponse:
    """Replaces the last check. If a check of the same version is running, it continues. A draft that cannot be launched
    gets the same problem as a launch."""
    preflight = await preflight_requests.request(
        dependencies.transactions,
        dependencies.job_queue,
        dependencies.campaign_rules,
        actor=actor,
        campaign_id=campaign_id,
    )
    return PreflightResponse.of(preflight)


@router.get(
    ONE + "/check",
    operation_id="getCheck",
    response_description="The check, and its report when it is DONE.",
    summary="Read the state and the report of the last check",
    responses=responses(404),
)
async def get_check(dependencies: Dependencies, caller: Reader, campaign_id: CampaignId) -> PreflightResponse:
    """404 if there is no such campaign, or if it was not checked."""
    async with dependencies.transactions(caller.org_id) as tx:
        return PreflightResponse.of(await preflight_requests.get(tx, caller.org_id, campaign_id))
