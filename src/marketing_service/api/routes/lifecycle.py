"""A campaign's life: launch, pause, resume, cancel."""

from collections.abc import Awaitable
from functools import partial

from fastapi import APIRouter, Depends, Response

from marketing_service.api.dependencies import CampaignId, Dependencies, Idempotent, Versions, Writer, no_query
from marketing_service.api.openapi_responses import responses, with_etag
from marketing_service.api.requests import LaunchOptions, audience_of
from marketing_service.api.responses import CampaignResponse
from marketing_service.api.routes.campaigns import ONE, kept, with_version
from marketing_service.campaigns import lifecycle
from marketing_service.db import OnResult, Transactions
from marketing_service.store.campaigns import Campaign

router = APIRouter(tags=["life"], dependencies=[Depends(no_query)])
_MOVED = {200: with_etag("The campaign as it is now."), **responses(404, 409)}


@router.post(
    ONE + "/launch",
    status_code=202,
    operation_id="launchCampaign",
    summary="Launch a draft",
    response_model=CampaignResponse,
    responses={202: with_etag("It is SENDING."), **responses(400, 404, 409, 412, 413)},
)
async def launch_campaign(
    dependencies: Dependencies,
    caller: Writer,
    campaign_id: CampaignId,
    versions: Versions,
    once: Idempotent,
    body: LaunchOptions | None = None,
) -> Response:
    """The recipients are found afterwards; `stats` shows how far that has come. Where it cannot be done, the
    campaign becomes FAILED, and nothing has been sent."""
    options = body or LaunchOptions()

    def launch(transactions: Transactions, on_result: OnResult[Campaign]) -> Awaitable[object]:
        return lifecycle.launch(
            transactions,
            dependencies.audience,
            dependencies.job_queue,
            dependencies.settings,
            org_id=caller.org_id,
            campaign_id=campaign_id,
            audience=None if options.audience is None else audience_of(options.audience),
            versions=versions,
            force=options.force,
            on_result=on_result,
        )

    return await once.only(launch, partial(kept, status=202))


@router.post(ONE + "/pause", operation_id="pauseCampaign", summary="Hand nothing more over", responses=_MOVED)
async def pause_campaign(
    dependencies: Dependencies, caller: Writer, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    """What was already being handed over still leaves: at most two messages per connection to the relay."""
    async with dependencies.transactions(caller.org_id) as tx:
        campaign = await lifecycle.pause(tx, caller.org_id, campaign_id)
    return with_version(response, campaign)


@router.post(ONE + "/resume", operation_id="resumeCampaign", summary="Go on where a pause stopped it", responses=_MOVED)
async def resume_campaign(
    dependencies: Dependencies, caller: Writer, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        campaign = await lifecycle.resume(tx, caller.org_id, campaign_id)
    return with_version(response, campaign)


@router.post(ONE + "/cancel", operation_id="cancelCampaign", summary="Send no more of it", responses=_MOVED)
async def cancel_campaign(
    dependencies: Dependencies, caller: Writer, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    """What waits becomes SKIPPED with the reason CANCELLED; once the rest has ended the campaign is SENT, with
    `cancelledAt`."""
    async with dependencies.transactions(caller.org_id) as tx:
        campaign = await lifecycle.cancel(tx, caller.org_id, campaign_id)
    return with_version(response, campaign)
