"""A dry run of a launch."""

from fastapi import APIRouter, Depends

from marketing_service.api.dependencies import CampaignId, Parts, Reader, Writer, no_query
from marketing_service.api.openapi_responses import answers
from marketing_service.api.responses import CheckAnswer
from marketing_service.api.routes.campaigns import ONE
from marketing_service.campaigns import preflight_requests

router = APIRouter(tags=["life"], dependencies=[Depends(no_query)])


@router.post(
    ONE + "/check",
    status_code=202,
    operation_id="checkCampaign",
    response_description="It is being checked.",
    summary="Look over a draft and its whole audience before its launch",
    responses=answers(404, 409, 412),
)
async def check_campaign(parts: Parts, caller: Writer, campaign_id: CampaignId) -> CheckAnswer:
    """Takes the place of the check before; one of the same version that is under way goes on. What a launch would
    refuse at once is refused here too."""
    check = await preflight_requests.request(
        parts.transactions,
        parts.doorbell,
        parts.settings,
        org_id=caller.org_id,
        campaign_id=campaign_id,
        requested_by=caller.subject,
    )
    return CheckAnswer.of(check)


@router.get(
    ONE + "/check",
    operation_id="getCheck",
    response_description="The check.",
    summary="Read how far the check has come, and what it found",
    responses=answers(404),
)
async def get_check(parts: Parts, caller: Reader, campaign_id: CampaignId) -> CheckAnswer:
    """404 also where the campaign has not been checked."""
    async with parts.transactions(caller.org_id) as tx:
        return CheckAnswer.of(await preflight_requests.get(tx, caller.org_id, campaign_id))
