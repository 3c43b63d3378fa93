"""The suppression list: addresses that are not to be mailed, whatever the CRM says."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from marketing_service.api import csv_suppressions
from marketing_service.api.cursors import read_suppression_cursor, suppression_cursor
from marketing_service.api.dependencies import Dependencies, Reader, Writer, body_announced_as, no_query
from marketing_service.api.openapi_responses import content, responses
from marketing_service.api.requests import NewSuppression, SuppressionFilterQuery, SuppressionQuery
from marketing_service.api.responses_suppressions import ImportResponse, SuppressionPage, SuppressionResponse
from marketing_service.campaigns import suppression_list as suppressions
from marketing_service.campaigns.suppression_list import Filter

PATH = "/api/marketing/suppressions"
CSV_TYPE = "text/csv"

router = APIRouter(tags=["suppressions"])
_plain = [Depends(no_query)]
SuppressionId = Annotated[UUID, Path(alias="suppressionId", description="One address's place on the list.")]


@router.get(
    PATH,
    operation_id="listSuppressions",
    response_description="A page of the list.",
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
    response_description="The address is on the list, and what waited for it is skipped.",
    summary="Put an address on the suppression list",
    dependencies=_plain,
    responses={
        200: {"description": "It was there already; nothing has changed.", "model": SuppressionResponse},
        **responses(400, 413),
    },
)
async def add_suppression(
    dependencies: Dependencies, caller: Writer, body: NewSuppression, response: Response
) -> SuppressionResponse:
    suppression, is_new = await suppressions.add(
        dependencies.transactions, org_id=caller.org_id, email=body.email, note=body.note, created_by=caller.subject
    )
    if not is_new:
        response.status_code = 200
    return SuppressionResponse.of(suppression)


@router.delete(
    PATH + "/{suppressionId}",
    status_code=204,
    operation_id="removeSuppression",
    response_description="It is mailed again from the next launch on.",
    summary="Take an address off the suppression list",
    dependencies=_plain,
    responses=responses(404),
)
async def remove_suppression(dependencies: Dependencies, caller: Writer, suppression_id: SuppressionId) -> None:
    """What was skipped stays so; the soft bounces before it are forgotten."""
    await suppressions.remove(dependencies.transactions, org_id=caller.org_id, suppression_id=suppression_id)


@router.get(
    PATH + ".csv",
    operation_id="exportSuppressions",
    summary="Download the suppression list as CSV",
    response_class=StreamingResponse,
    responses={200: content("UTF-8 with CRLF; cells are safe to open in a spreadsheet.", CSV_TYPE), **responses()},
)
async def export_suppressions(
    dependencies: Dependencies, caller: Reader, query: Annotated[SuppressionFilterQuery, Query()]
) -> StreamingResponse:
    """Streamed, whatever its size; a download that breaks off was interrupted, and is not whole."""
    pages = suppressions.pages(dependencies.transactions, caller.org_id, only=Filter(query.reason, query.q))
    # The first page is read before the answer starts, so that what is wrong by then still gets its own status.
    first = await anext(pages)
    return StreamingResponse(
        csv_suppressions.chunks(first, pages),
        media_type=f"{CSV_TYPE}; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="suppressions.csv"'},
    )


@router.post(
    PATH + ".csv",
    operation_id="importSuppressions",
    response_description="What came of it.",
    summary="Put every address of a CSV file on the suppression list",
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
async def import_suppressions(dependencies: Dependencies, caller: Writer, request: Request) -> ImportResponse:
    """UTF-8, with commas, semicolons or tabs; its first line names the columns: `email`, and perhaps `note`. What is no
    address is named in the answer, and the rest is added. Nothing is where it cannot be read as CSV."""
    file = await body_announced_as(request, CSV_TYPE)
    imported = await suppressions.read_in(
        dependencies.transactions, org_id=caller.org_id, file=file, created_by=caller.subject
    )
    return ImportResponse.of(imported)
