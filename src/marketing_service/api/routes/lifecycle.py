"""The lifecycle of a campaign: schedule, launch, pause, resume, cancel."""

from fastapi import APIRouter, Depends, Response

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import CampaignId, Dependencies, Idempotent, Versions, WritingActor, no_query
from marketing_service.api.openapi_responses import responses, with_etag
from marketing_service.api.requests import LaunchOptions, NewSchedule, audience_of
from marketing_service.api.responses import CampaignResponse
from marketing_service.api.routes.campaigns import ONE, campaign_response, with_version
from marketing_service.campaigns import lifecycle
from marketing_service.campaigns.schedule import schedule, unschedule
from marketing_service.store.campaigns import Campaign

router = APIRouter(route_class=AuthenticatedRoute, tags=["lifecycle"], dependencies=[Depends(no_query)])
_CHANGED = {200: with_etag("The campaign after the change."), **responses(404, 409)}


_SCHEDULED = {200: with_etag("The draft with its schedule."), **responses(400, 404, 409, 412, 413)}


@router.post(
    ONE + "/schedule", operation_id="scheduleCampaign", summary="Launch a draft at a time", responses=_SCHEDULED
)
async def schedule_campaign(
    dependencies: Dependencies,
    actor: WritingActor,
    campaign_id: CampaignId,
    versions: Versions,
    body: NewSchedule,
    response: Response,
) -> CampaignResponse:
    """Until that time the campaign is a DRAFT, which can be edited and launched. A launch that is refused then, or that
    no worker could do within an hour, leaves the DRAFT with `scheduleProblem`. Another request replaces the time."""
    async with dependencies.transactions(actor.org_id) as tx:
        campaign = await schedule(tx, actor, campaign_id, at=body.at, zone=body.time_zone, versions=versions)
    return with_version(response, campaign)


@router.delete(
    ONE + "/schedule",
    operation_id="unscheduleCampaign",
    summary="Remove the schedule of a draft",
    responses={200: with_etag("The draft without a schedule."), **responses(404, 409, 412)},
)
async def unschedule_campaign(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, versions: Versions, response: Response
) -> CampaignResponse:
    """Also removes `scheduleProblem`. Without either, nothing is changed."""
    async with dependencies.transactions(actor.org_id) as tx:
        campaign = await unschedule(tx, actor, campaign_id, versions=versions)
    return with_version(response, campaign)


@router.post(
    ONE + "/launch",
    status_code=202,
    operation_id="launchCampaign",
    summary="Launch a draft",
    response_model=CampaignResponse,
    responses={202: with_etag("The campaign is SENDING."), **responses(400, 404, 409, 412, 413)},
)
async def launch_campaign(
    dependencies: Dependencies,
    actor: WritingActor,
    campaign_id: CampaignId,
    versions: Versions,
    idempotent: Idempotent,
    body: LaunchOptions | None = None,
) -> Response:
    """Workers then read the recipients from the CRM; `stats` shows how many they have read. If that fails, the campaign
    becomes FAILED and nothing is sent. A message that is larger than the relay accepts is refused (422, code
    `message-too-large`); `force` launches it anyway."""
    options = body or LaunchOptions()
    campaign = await lifecycle.launch(
        idempotent.transactions,
        dependencies.audience,
        dependencies.job_queue,
        dependencies.campaign_rules,
        mailer=dependencies.mailer,
        actor=actor,
        campaign_id=campaign_id,
        audience=None if options.audience is None else audience_of(options.audience),
        versions=versions,
        force=options.force,
        on_result=idempotent.store_as(_launched),
    )
    return _launched(campaign)


def _launched(campaign: Campaign) -> Response:
    return campaign_response(campaign, 202)


@router.post(ONE + "/pause", operation_id="pauseCampaign", summary="Pause a campaign", responses=_CHANGED)
async def pause_campaign(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    """Messages that are already marked SENDING are still sent: at most two per connection to the relay."""
    async with dependencies.transactions(actor.org_id) as tx:
        campaign = await lifecycle.pause(tx, actor, campaign_id)
    return with_version(response, campaign)


@router.post(ONE + "/resume", operation_id="resumeCampaign", summary="Resume a paused campaign", responses=_CHANGED)
async def resume_campaign(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    async with dependencies.transactions(actor.org_id) as tx:
        campaign = await lifecycle.resume(tx, actor, campaign_id)
    return with_version(response, campaign)


@router.post(ONE + "/cancel", operation_id="cancelCampaign", summary="Cancel a campaign", responses=_CHANGED)
async def cancel_campaign(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    """No more messages are marked. Waiting sends become SKIPPED with the reason CANCELLED, in a large campaign step by
    step after the response. When the other sends have ended, the campaign is SENT, with `cancelledAt`."""
    campaign = await lifecycle.cancel(dependencies.transactions, actor, campaign_id)
    return with_version(response, campaign)
