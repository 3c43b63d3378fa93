"""The email log as JSON and CSV, and the resend of one send or of many."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from marketing_service.api import csv_export
from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.cursors import log_cursor, read_log_cursor
from marketing_service.api.dependencies import (
    CampaignId,
    Dependencies,
    Idempotent,
    Reader,
    ReadingActor,
    ResendId,
    SendId,
    WritingActor,
    no_query,
)
from marketing_service.api.gzip_stream import ENCODING, VARY, accepts_gzip, compressed
from marketing_service.api.openapi_responses import content, responses
from marketing_service.api.requests import ExportQuery, LogQuery, NewResend
from marketing_service.api.responses import LogEntryResponse, LogPage
from marketing_service.api.responses_resends import AcceptedResendResponse, ResendResponse
from marketing_service.api.routes.campaigns import ONE, PATH
from marketing_service.campaigns import bulk_resends, email_log
from marketing_service.campaigns.resend import resend
from marketing_service.store.email_log import LogEntry, LogFilter

router = APIRouter(route_class=AuthenticatedRoute, tags=["email log"])


@router.get(
    ONE + "/sends",
    operation_id="listSends",
    response_description="A page of the email log.",
    summary="Read the email log, sorted by address",
    responses=responses(404),
)
async def list_sends(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, query: Annotated[LogQuery, Query()]
) -> LogPage:
    after = read_log_cursor(query.cursor)
    only = LogFilter(query.status, query.q)
    async with dependencies.transactions(caller.org_id) as tx:
        page = await email_log.page(tx, caller.org_id, campaign_id, only=only, after=after, limit=query.limit)
    return LogPage(items=[LogEntryResponse.of(entry) for entry in page.items], next_cursor=log_cursor(page.next))


@router.get(
    ONE + "/sends.csv",
    operation_id="exportSends",
    summary="Download the email log as CSV",
    response_class=StreamingResponse,
    responses={
        200: content("UTF-8 with CRLF. No cell is executed as a formula by a spreadsheet.", "text/csv"),
        **responses(404),
    },
)
async def export_sends(
    request: Request,
    dependencies: Dependencies,
    actor: ReadingActor,
    campaign_id: CampaignId,
    query: Annotated[ExportQuery, Query()],
) -> StreamingResponse:
    """The file is streamed, and compressed if `Accept-Encoding` allows gzip. If the connection breaks before the end,
    the file is incomplete: remove its last row, which may be cut, and request the rest with the `id` of the row before
    as `after`. The rest has no header."""
    only = LogFilter(query.status, query.q)
    pages = email_log.export(dependencies.transactions, actor, campaign_id, only=only, after=query.after)
    # Reads the first page before the response starts, so that an error up to then still gets its own status.
    first = await anext(pages)
    file = csv_export.chunks(first, pages, header=query.after is None)
    headers = {"Content-Disposition": f'attachment; filename="sends-{campaign_id}.csv"', **VARY}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        file = compressed(file)
        headers["Content-Encoding"] = ENCODING
    return StreamingResponse(file, media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    ONE + "/sends/{sendId}/resend",
    status_code=202,
    operation_id="resendSend",
    response_description="The send, which is QUEUED again.",
    summary="Send the message again to one recipient",
    dependencies=[Depends(no_query)],
    response_model=LogEntryResponse,
    responses=responses(404, 409),
)
async def resend_send(
    dependencies: Dependencies, actor: WritingActor, campaign_id: CampaignId, send_id: SendId, idempotent: Idempotent
) -> Response:
    """Only for FAILED and UNCONFIRMED sends, and only if the contact has not opted out. The number of attempts starts
    again."""
    entry = await resend(
        idempotent.transactions,
        dependencies.audience,
        actor=actor,
        campaign_id=campaign_id,
        send_id=send_id,
        on_result=idempotent.store_as(_requeued),
    )
    return _requeued(entry)


def _requeued(entry: LogEntry) -> Response:
    return Response(LogEntryResponse.of(entry).model_dump_json(by_alias=True), 202, media_type="application/json")


@router.post(
    ONE + "/resend",
    status_code=202,
    operation_id="resendSends",
    summary="Send the message again to many recipients",
    dependencies=[Depends(no_query)],
    response_model=AcceptedResendResponse,
    responses={
        202: {
            "description": "The request is accepted. Workers queue the sends again.",
            "headers": {
                "Location": {"description": "The address of its progress.", "schema": {"type": "string"}},
            },
        },
        **responses(400, 404, 409, 413),
    },
)
async def resend_sends(
    actor: WritingActor, campaign_id: CampaignId, idempotent: Idempotent, body: NewResend
) -> Response:
    """Workers ask the CRM for the consent of each contact first. A campaign has one such request at a time. A cancel of
    the campaign ends it."""
    statuses, reasons = list(dict.fromkeys(body.status)), list(dict.fromkeys(body.reason))
    async with idempotent.transactions(actor.org_id) as tx:
        added = await bulk_resends.request(tx, actor, campaign_id, statuses=statuses, reasons=reasons)
        response = Response(
            AcceptedResendResponse.of(added).model_dump_json(by_alias=True),
            202,
            {"Location": f"{PATH}/{campaign_id}/resends/{added.id}"},
            "application/json",
        )
        await idempotent.store(tx, response)
    return response


@router.get(
    ONE + "/resends/{resendId}",
    operation_id="getResend",
    response_description="The progress.",
    summary="Read the progress of sending again to many recipients",
    dependencies=[Depends(no_query)],
    responses=responses(404),
)
async def get_resend(
    dependencies: Dependencies, caller: Reader, campaign_id: CampaignId, resend_id: ResendId
) -> ResendResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        return ResendResponse.of(await bulk_resends.get(tx, caller.org_id, campaign_id, resend_id))
