"""Audiences: the statuses that one can name, and how many contacts a launch would mail now."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import Dependencies, Reader, no_query
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import AudienceQuery
from marketing_service.api.responses_audience import (
    AudienceCountResponse,
    ContactStatusesResponse,
    ContactStatusResponse,
)
from marketing_service.campaigns.validation import CRM, crm_unavailable, validate_statuses
from marketing_service.errors import Unavailable
from marketing_service.ports import AudienceError
from marketing_service.preflight import count_audience

CRM_TIMEOUT = 3.5
"""Seconds that all calls to the CRM may take together."""

router = APIRouter(route_class=AuthenticatedRoute, tags=["stats"])


@router.get(
    "/api/marketing/audience",
    operation_id="getAudience",
    response_description="The number of contacts, and some of them as a sample.",
    summary="Count the contacts that a launch would mail now",
    responses=responses(),
)
async def get_audience(
    dependencies: Dependencies, caller: Reader, query: Annotated[AudienceQuery, Query()]
) -> AudienceCountResponse:
    """Counts the contacts that have an address and have not opted out, in the CRM or here. The sample has up to ten."""
    audience = query.audience()
    try:
        async with asyncio.timeout(CRM_TIMEOUT):
            await validate_statuses(audience, dependencies.audience, caller.org_id, field="statuses")
            found = await count_audience(
                dependencies.transactions, dependencies.audience, org_id=caller.org_id, audience=audience
            )
    except AudienceError as error:
        raise crm_unavailable(error) from error
    except TimeoutError:
        raise Unavailable(CRM) from None
    return AudienceCountResponse.of(found)


@router.get(
    "/api/marketing/contact-statuses",
    operation_id="listContactStatuses",
    response_description="The statuses, in the order of the CRM.",
    summary="List the statuses that a contact of the CRM can have",
    dependencies=[Depends(no_query)],
    responses=responses(),
)
async def list_contact_statuses(dependencies: Dependencies, caller: Reader) -> ContactStatusesResponse:
    try:
        statuses = await dependencies.audience.statuses(caller.org_id)
    except AudienceError as error:
        raise crm_unavailable(error) from error
    return ContactStatusesResponse(items=[ContactStatusResponse(value=s.value, label=s.label) for s in statuses])
