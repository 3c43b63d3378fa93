"""An audience, looked at before it is mailed."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from marketing_service.api.dependencies import Dependencies, Reader
from marketing_service.api.openapi_responses import responses
from marketing_service.api.requests import AudienceQuery
from marketing_service.api.responses import AudienceNowResponse
from marketing_service.campaigns.validation import CRM, crm_unavailable, validate_statuses
from marketing_service.errors import Unavailable
from marketing_service.ports import AudienceError
from marketing_service.preflight import count_audience

PATIENCE = 3.5
"""Seconds. The CRM is asked several things, and each of them may take a while."""

router = APIRouter(tags=["stats"])


@router.get(
    "/api/marketing/audience",
    operation_id="getAudience",
    response_description="The number, and some of them.",
    summary="Count whom a launch would mail now",
    responses=responses(),
)
async def get_audience(
    dependencies: Dependencies, caller: Reader, query: Annotated[AudienceQuery, Query()]
) -> AudienceNowResponse:
    """Contacts of the CRM with an address who have not opted out, there or here; up to ten of them are shown."""
    audience = query.audience()
    try:
        async with asyncio.timeout(PATIENCE):
            await validate_statuses(audience, dependencies.audience, caller.org_id, field="statuses")
            found = await count_audience(
                dependencies.transactions, dependencies.audience, org_id=caller.org_id, audience=audience
            )
    except AudienceError as error:
        raise crm_unavailable(error) from error
    except TimeoutError:
        raise Unavailable(CRM) from None
    return AudienceNowResponse.of(found)
