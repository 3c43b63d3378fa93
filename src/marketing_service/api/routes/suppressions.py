"""The suppression list: addresses that are never mailed, even if the CRM allows it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from marketing_service.api import csv_suppressions
from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.cursors import read_suppression_cursor, suppression_cursor
from marketing_service.api.dependencies import (
    Dependencies,
    Reader,
    ReadingActor,
    WritingActor,
    body_announced_as,
    no_query,
)
from marketing_service.api.openapi_responses import content, responses
from marketing_service.api.requests import NewSuppression, SuppressionFilterQuery, SuppressionQuery
from marketing_service.api.responses_suppressions import ImportResponse, SuppressionPage, SuppressionResponse
from marketing_service.campaigns import suppression_list as suppressions
from marketing_service.campaigns.suppression_list import Filter

PATH = "/api/marketing/suppressions"
CSV_TYPE = "text/csv"

router = APIRouter(route_class=AuthenticatedRoute, tags=["suppressions"])
_plain = [Depends(no_query)]
SuppressionId = Annotated[UUID, Path(alias="suppressionId", description="The id of one entry of the list.")]


@router.get(
    PATH,
    operation_id="listSuppressions",
    response_description="A page of the suppression list.",
    summary="Read the suppression list, newest first",
    responses=responses(),
)
async def list_suppressions(
    dependencies: Dependencies, caller: Reader, query: Annotated[SuppressionQuery, Query()]
) -> SuppressionPage:
    items, before = await suppressions.page(
        dependencies.transactions,
        caller.org_id,
        only=Filter(query.reason, query.q),
        before=read_suppression_cursor(query.cursor),
        limit=query.limit,
    )
    return SuppressionPage(
        items=[SuppressionResponse.of(item) for item in items], next_cursor=suppression_cursor(before)
    )


@router.post(
    PATH,
    status_code=201,
    operation_id="addSuppression",
    response_description="The address is on the list, and waiting sends to it are SKIPPED.",
    summary="Add an address to the suppression list",
    dependencies=_plain,
    responses={
        200: {"description": "The address was already on the list. Nothing was changed.", "model": SuppressionResponse},
        **responses(400, 413),
    },
)
async def add_suppression(
    dependencies: Dependencies, actor: WritingActor, body: NewSuppression, response: Response
) -> SuppressionResponse:
    suppression, is_new = await suppressions.add(
        dependencies.transactions, actor=actor, email=body.email, note=body.note
    )
    if not is_new:
        response.status_code = 200
    return SuppressionResponse.of(suppression)


@router.delete(
    PATH + "/{suppressionId}",
    status_code=204,
    operation_id="removeSuppression",
    response_description="The address can be mailed again, from the next launch on.",
    summary="Remove an address from the suppression list",
    dependencies=_plain,
    responses=responses(404),
)
async def remove_suppression(dependencies: Dependencies, actor: WritingActor, suppression_id: SuppressionId) -> None:
    """Skipped sends stay SKIPPED. The earlier soft bounces of the address no longer count."""
    await suppressions.remove(dependencies.transactions, actor=actor, suppression_id=suppression_id)


@router.get(
    PATH + ".csv",
    operation_id="exportSuppressions",
    summary="Download the suppression list as CSV",
    response_class=StreamingResponse,
    responses={
        200: content("UTF-8 with CRLF. No cell is executed as a formula by a spreadsheet.", CSV_TYPE),
        **responses(),
    },
)
async def export_suppressions(
    dependencies: Dependencies, actor: ReadingActor, query: Annotated[SuppressionFilterQuery, Query()]
) -> StreamingResponse:
    """The file is streamed. If the connection breaks before the end, the file is incomplete."""
    pages = suppressions.export(dependencies.transactions, actor, only=Filter(query.reason, query.q))
    # Reads the first page before the response starts, so that an error up to then still gets its own status.
    first = await anext(pages)
    return StreamingResponse(
        csv_suppressions.chunks(first, pages),
        media_type=f"{CSV_TYPE}; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
    )


@router.post(
    PATH + ".csv",
    operation_id="importSuppressions",
    response_description="How many addresses were added, and which values are not addresses.",
    summary="Add the addresses of a CSV file to the suppression list",
    dependencies=_plain,
    responses=responses(413),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                CSV_TYPE: {"schema": {"type": "string"}, "example": "email,note\r\nann@example.com,by phone\r\n"}
            },
        }
    },
)
async def import_suppressions(dependencies: Dependencies, actor: WritingActor, request: Request) -> ImportResponse:
    """The file is UTF-8, with commas, semicolons or tabs. Its first line names the columns: `email`, and optionally
    `note`. The response lists the values that are not addresses; all others are added. If the file is not valid CSV,
    nothing is added."""
    file = await body_announced_as(request, CSV_TYPE)
    imported = await suppressions.import_csv(dependencies.transactions, actor=actor, file=file)
    return ImportResponse.of(imported)
