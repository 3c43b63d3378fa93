"""The audit trail: who did what."""

from typing import Annotated

from fastapi import APIRouter, Query

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.cursors import audit_cursor, read_audit_cursor
from marketing_service.api.dependencies import Dependencies, Writer
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import AuditQuery
from marketing_service.api.responses_audit import AuditEntryResponse, AuditPage
from marketing_service.campaigns import audit

router = APIRouter(route_class=AuthenticatedRoute, tags=["audit"])


@router.get(
    "/api/marketing/audit",
    operation_id="listAuditEntries",
    response_description="A page of the audit trail.",
    summary="Read who did what, newest first",
    responses=responses(),
)
async def list_audit_entries(
    dependencies: Dependencies, caller: Writer, query: Annotated[AuditQuery, Query()]
) -> AuditPage:
    """Needs a writing role. A page can have fewer items than `limit`, or none, if the filters fit few entries. If
    `nextCursor` is null, it is the last page."""
    before = read_audit_cursor(query.cursor)
    async with dependencies.transactions(caller.org_id) as tx:
        page = await audit.page(tx, caller.org_id, only=query.filter(), before=before, limit=query.limit)
    return AuditPage(items=[AuditEntryResponse.of(entry) for entry in page.items], next_cursor=audit_cursor(page.next))
