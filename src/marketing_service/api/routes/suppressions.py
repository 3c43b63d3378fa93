"""The suppression list: addresses that are never mailed, even if the CRM allows it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from marketing_service.api import csv_suppressions
from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.body_limits import SUPPRESSIONS_CSV
from marketing_service.api.cursors import import_cursor, read_import_cursor, read_suppression_cursor, suppression_cursor
from marketing_service.api.dependencies import (
    Dependencies,
    Idempotent,
    ImportSlot,
    Reader,
    ReadingActor,
    WritingActor,
    body_announced_as,
    no_query,
)
from marketing_service.api.openapi_responses import content, responses
from marketing_service.api.requests import ImportQuery, NewSuppression, SuppressionFilterQuery, SuppressionQuery
from marketing_service.api.responses_suppressions import (
    ImportPage,
    ImportResponse,
    ImportSummary,
    SuppressionPage,
    SuppressionResponse,
)
from marketing_service.campaigns import suppression_imports
from marketing_service.campaigns import suppression_list as suppressions
from marketing_service.campaigns.suppression_list import Filter
from marketing_service.store.suppression_imports import SuppressionImport

PATH = "/api/marketing/suppressions"
IMPORTS = PATH + "/imports"
CSV_TYPE = "text/csv"

router = APIRouter(route_class=AuthenticatedRoute, tags=["suppressions"])
_plain = [Depends(no_query)]
SuppressionId = Annotated[UUID, Path(alias="suppressionId", description="The id of one entry of the list.")]
ImportId = Annotated[UUID, Path(alias="importId", description="The id of an import.")]


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


async def _not_the_imports(request: Request) -> None:
    """`…/suppressions/imports` also matches the path of one suppression. Raises HTTPException."""
    if request.url.path == IMPORTS:
        raise HTTPException(405)


@router.delete(
    PATH + "/{suppressionId}",
    status_code=204,
    operation_id="removeSuppression",
    response_description="The address can be mailed again, from the next launch on.",
    summary="Remove an address from the suppression list",
    dependencies=[Depends(_not_the_imports), *_plain],
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
    SUPPRESSIONS_CSV,
    operation_id="importSuppressions",
    response_description="The import is finished: its addresses are no longer mailed.",
    summary="Add the addresses of a CSV file to the suppression list",
    response_model=ImportResponse,
    dependencies=_plain,
    responses={
        202: {
            "description": "The file has more than 1,000 addresses, and is accepted. Read the import until it is"
            " finished.",
            "model": ImportResponse,
            "headers": {"Location": {"description": "The address of the import.", "schema": {"type": "string"}}},
        },
        **responses(409, 413),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                CSV_TYPE: {"schema": {"type": "string"}, "example": "email,note\r\nann@example.com,by phone\r\n"}
            },
        }
    },
)
async def import_suppressions(
    _: ImportSlot, dependencies: Dependencies, actor: WritingActor, idempotent: Idempotent, request: Request
) -> Response:
    """The file is what a spreadsheet writes: UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs. Its first
    row names the columns, such as `email` (or `E-Mail`, `Email address`, `Courriel`, `Correo`) and optionally `note`.
    Without such a row, the column with addresses is used. The response lists the rows that were not taken; all others
    are. If the file is not valid CSV, nothing is added. It has at most 30,000,000 bytes and 250,000 rows."""
    imported = await suppression_imports.import_file(
        idempotent.transactions,
        dependencies.job_queue,
        actor=actor,
        file=await body_announced_as(request, CSV_TYPE),
        on_result=idempotent.store_as(_imported),
    )
    return _imported(imported)


def _imported(imported: SuppressionImport) -> Response:
    headers = {"Location": f"{IMPORTS}/{imported.id}"}
    status = 202 if imported.finished_at is None else 200
    return JSONResponse(ImportResponse.of(imported).model_dump(mode="json", by_alias=True), status, headers)


@router.get(
    IMPORTS,
    operation_id="listImports",
    response_description="A page of the imports.",
    summary="List the imports of the last days, newest first",
    responses=responses(414),
)
async def list_imports(
    dependencies: Dependencies, caller: Reader, query: Annotated[ImportQuery, Query()]
) -> ImportPage:
    """An import is deleted seven days after its end. Its addresses stay on the list."""
    async with dependencies.transactions(caller.org_id) as tx:
        items, before = await suppression_imports.page(
            tx, caller.org_id, before=read_import_cursor(query.cursor), limit=query.limit
        )
    return ImportPage(items=[ImportSummary.of(item) for item in items], next_cursor=import_cursor(before))


@router.get(
    IMPORTS + "/{importId}",
    operation_id="getImport",
    response_description="The import.",
    summary="Read the progress of an import, and the rows that were not taken",
    dependencies=_plain,
    responses=responses(404),
)
async def get_import(dependencies: Dependencies, caller: Reader, import_id: ImportId) -> ImportResponse:
    async with dependencies.transactions(caller.org_id) as tx:
        return ImportResponse.of(await suppression_imports.get(tx, caller.org_id, import_id))
