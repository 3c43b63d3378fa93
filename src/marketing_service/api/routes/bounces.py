"""The door for messages that came back, for mail systems that speak HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from marketing_service.api.dependencies import Dependencies, MetricsOf, Reporter, body_announced_as
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import MAX_PATH, ReportQuery
from marketing_service.api.responses_suppressions import HandledResponse
from marketing_service.errors import FieldError, InvalidInput, WrongState

MESSAGE_TYPE = "message/rfc822"

router = APIRouter(tags=["bounces"])


@router.post(
    "/api/marketing/bounces",
    operation_id="takeReport",
    response_description="What came of it.",
    summary="Hand over a message that came back: a delivery report, or a complaint",
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
    recipient: Annotated[str | None, Header(description="The same, as a header.", max_length=MAX_PATH)] = None,
) -> HandledResponse:
    """The whole message, as it came. Only sends of the token's own organisation are touched; the same message again
    changes nothing. A 503 asks for it again, later."""
    raw = await body_announced_as(request, MESSAGE_TYPE)
    if (query.recipient is None) == (recipient is None):
        raise InvalidInput(FieldError("recipient", "must be given once, in the query or as a header.", "required"))
    handler = dependencies.report_handler()
    if handler is None:
        raise WrongState("This installation has no MARKETING_BOUNCE_DOMAIN, so nothing can come back to it.")
    handled = await handler.handle(query.recipient or recipient or "", raw, org_id=caller.org_id)
    metrics.reports.labels(handled.kind, handled.outcome).inc()
    return HandledResponse(kind=handled.kind, outcome=handled.outcome)
