"""Campaigns: create, read, change, delete, duplicate, preview, test."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.cursors import campaign_cursor, read_campaign_cursor
from marketing_service.api.dependencies import (
    CampaignId,
    Dependencies,
    Idempotent,
    LimitsOf,
    Reader,
    Versions,
    WritingActor,
    no_query,
)
from marketing_service.api.openapi_responses import responses, with_etag
from marketing_service.api.preconditions import etag
from marketing_service.api.requests import (
    CampaignChanges,
    CampaignQuery,
    NewCampaign,
    PreviewQuery,
    TestRecipients,
    UnsavedMessage,
)
from marketing_service.api.responses import CampaignPage, CampaignResponse, PreviewResponse, TestMailResponse
from marketing_service.campaigns import drafts, lifecycle
from marketing_service.campaigns.test_mails import left_out_of, request_test_mail
from marketing_service.campaigns.validation import validate_for_launch, validate_recipients
from marketing_service.store.campaigns import Campaign

PATH = "/api/marketing/campaigns"
ONE = PATH + "/{id}"

router = APIRouter(route_class=AuthenticatedRoute, tags=["campaigns"])
_plain = [Depends(no_query)]


def with_version(response: Response, campaign: Campaign) -> CampaignResponse:
    """The campaign as the body of `response`, its version in the ETag."""
    response.headers["ETag"] = etag(campaign.version)
    return CampaignResponse.of(campaign)


def campaign_response(campaign: Campaign, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The campaign as a response that can be stored, its version in the ETag."""
    body = CampaignResponse.of(campaign).model_dump_json(by_alias=True)
    return Response(body, status, {"ETag": etag(campaign.version), **(headers or {})}, "application/json")


def _created(campaign: Campaign) -> Response:
    return campaign_response(campaign, 201, {"Location": f"{PATH}/{campaign.id}"})


@router.get(
    PATH,
    operation_id="listCampaigns",
    response_description="A page of campaigns.",
    summary="List campaigns, newest first",
    responses=responses(),
)
async def list_campaigns(
    dependencies: Dependencies, caller: Reader, query: Annotated[CampaignQuery, Query()]
) -> CampaignPage:
    """A page can have fewer items than `limit` if the message bodies are large. If `nextCursor` is null, it is the last
    page."""
    after = read_campaign_cursor(query.cursor)
    async with dependencies.transactions(caller.org_id) as tx:
        page = await drafts.newest_first(
            tx, caller.org_id, statuses=query.status, name_prefix=query.q, after=after, limit=query.limit
        )
    items = [CampaignResponse.of(campaign) for campaign in page.items]
    return CampaignPage(items=items, next_cursor=campaign_cursor(page.next))


@router.post(
    PATH,
    status_code=201,
    operation_id="createCampaign",
    summary="Create a draft",
    dependencies=_plain,
    response_model=CampaignResponse,
    responses={201: with_etag("The draft.", Location="The address of the draft."), **responses(400, 409, 413)},
)
async def create_campaign(
    dependencies: Dependencies, actor: WritingActor, idempotent: Idempotent, body: NewCampaign
) -> Response:
    campaign = await drafts.create(
        idempotent.transactions,
        dependencies.audience,
        dependencies.campaign_rules,
        actor=actor,
        draft=body.draft(),
        on_result=idempotent.store_as(_created),
    )
    return _created(campaign)


@router.get(
    ONE,
    operation_id="getCampaign",
    summary="Read a campaign",
    dependencies=_plain,
    responses={200: with_etag("The campaign."), **responses(404)},
)
async def get_campaign(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, response: Response
) -> CampaignResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        campaign = await drafts.get(tx, caller.org_id, campaign_id)
    return with_version(response, campaign)


@router.patch(
    ONE,
    operation_id="changeCampaign",
    summary="Change a draft",
    dependencies=_plain,
    responses={200: with_etag("The changed campaign."), **responses(400, 404, 409, 412, 413)},
)
async def change_campaign(
    dependencies: Dependencies,
    actor: WritingActor,
    campaign_id: CampaignId,
    versions: Versions,
    body: CampaignChanges,
    response: Response,
) -> CampaignResponse:
    campaign = await drafts.change(
        dependencies.transactions,
        dependencies.audience,
        dependencies.campaign_rules,
        actor=actor,
        campaign_id=campaign_id,
        changes=body.changes(),
        versions=versions,
    )
    return with_version(response, campaign)


@router.delete(
    ONE,
    status_code=204,
    operation_id="deleteCampaign",
    response_description="The campaign is deleted.",
    summary="Delete a draft or a campaign whose launch failed",
    dependencies=_plain,
    responses=responses(404, 409, 412),
)
async def delete_campaign(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, versions: Versions
) -> None:
    async with dependencies.transactions(actor.org_id) as tx:
        await drafts.remove(tx, actor, campaign_id, versions=versions)


@router.post(
    ONE + "/duplicate",
    status_code=201,
    operation_id="duplicateCampaign",
    summary="Create a draft with the same message and audience",
    dependencies=_plain,
    response_model=CampaignResponse,
    responses={201: with_etag("The new draft.", Location="The address of the new draft."), **responses(404, 409)},
)
async def duplicate_campaign(actor: WritingActor, campaign_id: CampaignId, idempotent: Idempotent) -> Response:
    async with idempotent.transactions(actor.org_id) as tx:
        response = _created(await drafts.duplicate(tx, actor, campaign_id))
        await idempotent.store(tx, response)
    return response


@router.get(
    ONE + "/preview",
    operation_id="previewCampaign",
    response_description="The message.",
    summary="Preview the message for one contact",
    responses=responses(404),
)
async def preview_campaign(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, query: Annotated[PreviewQuery, Query()]
) -> PreviewResponse:
    """The unsubscribe link does nothing, and there is no tracking pixel. Show the HTML in a sandboxed frame."""
    preview = await lifecycle.preview(
        dependencies.transactions,
        dependencies.audience,
        dependencies.campaign_rules,
        org_id=caller.org_id,
        campaign_id=campaign_id,
        contact_id=query.contact_id,
    )
    return PreviewResponse.of(preview)


@router.post(
    "/api/marketing/preview",
    operation_id="previewMessage",
    response_description="The message.",
    summary="Preview an unsaved message for one contact",
    dependencies=_plain,
    responses=responses(400, 404, 413),
)
async def preview_message(dependencies: Dependencies, caller: Reader, body: UnsavedMessage) -> PreviewResponse:
    """For an editor that shows a live preview. Nothing is saved, so no writing role is needed."""
    preview = await lifecycle.preview_unsaved(
        dependencies.audience,
        dependencies.campaign_rules,
        org_id=caller.org_id,
        subject=body.subject,
        html_body=body.html_body,
        text_body=body.text_body,
        language=body.language,
        preheader=body.preheader,
        contact_id=body.contact_id,
    )
    return PreviewResponse.of(preview)


@router.post(
    ONE + "/test",
    status_code=202,
    operation_id="testCampaign",
    summary="Send a test mail to up to five addresses",
    dependencies=_plain,
    response_model=TestMailResponse,
    responses={202: {"description": "The test mail will be sent."}, **responses(400, 404, 409, 413)},
)
async def test_campaign(
    request: Request,
    dependencies: Dependencies,
    limits: LimitsOf,
    actor: WritingActor,
    campaign_id: CampaignId,
    idempotent: Idempotent,
    body: TestRecipients,
) -> Response:
    """The message is filled in for a sample recipient, and the subject starts with `[Test]`. Test mails are not part of
    the stats. Addresses that have opted out or are on the suppression list are left out; if that is all of them, the
    response is 409."""
    addresses = validate_recipients(body.to)
    async with idempotent.transactions(actor.org_id) as tx:
        campaign = await drafts.get(tx, actor.org_id, campaign_id)
        left_out = await left_out_of(tx, actor.org_id, addresses)
    recipients = [address for address in addresses if address not in left_out]
    await validate_for_launch(campaign, dependencies.campaign_rules)
    # Counted here, because only now it is known how many mails are sent. It is the last step that can refuse them.
    await limits.count_test_mails(request, actor.org_id, len(recipients))
    result = TestMailResponse.of(recipients, left_out)
    response = Response(result.model_dump_json(by_alias=True), 202, media_type="application/json")
    async with idempotent.transactions(actor.org_id) as tx:
        await request_test_mail(
            tx,
            dependencies.job_queue,
            actor=actor,
            campaign_id=campaign_id,
            recipients=recipients,
        )
        await idempotent.store(tx, response)
    return response
