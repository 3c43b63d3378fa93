"""For operators: liveness, readiness, and metrics for Prometheus."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import Dependencies, LedgerStatsOf, MetricsOf, ReadinessOf, TimeLimitOf
from marketing_service.api.openapi_responses import content
from marketing_service.api.responses import Health, Readiness
from marketing_service.errors import Unavailable

RETRY_AFTER = 5
STATS_TIMEOUT = 3.0
"""Seconds to wait for the totals from PostgreSQL. After that, the metrics are sent without them."""

liveness = APIRouter(route_class=AuthenticatedRoute, tags=["operators"])
"""Served on the public port too, if there is no internal one: it costs nothing and says nothing about other systems."""
router = APIRouter(route_class=AuthenticatedRoute, tags=["operators"])


@liveness.get(
    "/healthz",
    operation_id="getHealth",
    response_description="The process responds.",
    summary="Check that the process responds",
)
async def get_health() -> Health:
    """Checks no other system: a restart of this process does not help if PostgreSQL is down."""
    return Health(status="ok")


@liveness.head("/healthz", include_in_schema=False)
async def head_health() -> Response:
    return Response()


@router.get(
    "/readyz",
    operation_id="getReadiness",
    response_description="Every required system responds.",
    summary="Check that every required system responds",
    response_model=Readiness,
    responses={
        503: {
            "model": Readiness,
            "description": "Some systems cannot be used. `missing` lists them, and `causes` says why.",
        }
    },
)
async def get_readiness(dependencies: Dependencies, readiness_of: ReadinessOf) -> Response:
    """PostgreSQL and Redis must take writes, and PostgreSQL must have the schema that this version needs. Callers
    within the same second get the same result, so they cannot cause more than one probe of each system."""
    missing = await readiness_of.get(dependencies.missing)
    readiness = Readiness(ready=not missing, missing=list(missing), causes=missing)
    headers = {"Retry-After": str(RETRY_AFTER)} if missing else None
    return JSONResponse(readiness.model_dump(), 503 if missing else 200, headers)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Read the metrics",
    response_class=PlainTextResponse,
    responses={200: content("The metrics in the text format of Prometheus.", "text/plain")},
)
async def get_metrics(
    dependencies: Dependencies, metrics: MetricsOf, time_limit: TimeLimitOf, stats_of: LedgerStatsOf
) -> Response:
    try:
        ledger = await time_limit.within(STATS_TIMEOUT, stats_of.get(dependencies.stats))
    except Unavailable:
        ledger = None
    return Response(metrics.exposition(ledger), headers={"Content-Type": CONTENT_TYPE_LATEST})
