"""Takes delivery reports and complaints over HTTP, from mail systems that do not use the LMTP listener."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import Dependencies, MetricsOf, Reporter, body_announced_as
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import MAX_PATH, ReportQuery
from marketing_service.api.responses_suppressions import SubmittedReportResponse
from marketing_service.errors import FieldError, InvalidInput, WrongState

MESSAGE_TYPE = "message/rfc822"

router = APIRouter(route_class=AuthenticatedRoute, tags=["bounces"])


@router.post(
    "/api/marketing/bounces",
    operation_id="takeReport",
    response_description="What the message reports, and what the service did.",
    summary="Submit a delivery report or a complaint",
    responses=responses(409, 413),
    openapi_extra={
        "requestBody": {"required": True, "content": {MESSAGE_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def take_report(
    dependencies: Dependencies,
    metrics: MetricsOf,
    caller: Reporter,
    request: Request,
    query: Annotated[ReportQuery, Query()],
    recipient: Annotated[
        str | None, Header(description="As the query parameter `recipient`. Give one of the two.", max_length=MAX_PATH)
    ] = None,
) -> SubmittedReportResponse:
    """Send the whole message as it was received. Only sends of your organisation are changed. If you submit a message
    twice, the second time changes nothing. After a 503, submit the message again later."""
    raw = await body_announced_as(request, MESSAGE_TYPE)
    if (query.recipient is None) == (recipient is None):
        raise InvalidInput(FieldError("recipient", "must be given either in the query or as a header.", "required"))
    handler = dependencies.report_handler()
    if handler is None:
        raise WrongState("This installation does not take reports: MARKETING_BOUNCE_DOMAIN is not set.")
    handled = await handler.handle(query.recipient or recipient or "", raw, org_id=caller.org_id)
    metrics.reports.labels(handled.kind, handled.outcome).inc()
    return SubmittedReportResponse(kind=handled.kind, outcome=handled.outcome)
