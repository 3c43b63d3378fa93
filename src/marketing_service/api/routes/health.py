"""For operators: alive, ready, and figures for Prometheus."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from marketing_service.api.dependencies import Dependencies, MetricsOf, PatienceOf
from marketing_service.api.openapi_responses import content
from marketing_service.api.responses import Health, Readiness
from marketing_service.errors import Unavailable

RETRY_AFTER = 5
STATS_PATIENCE = 3.0
"""Seconds after which the figures are given without those that PostgreSQL has."""

router = APIRouter(tags=["operators"])


@router.get(
    "/healthz", operation_id="getHealth", response_description="It does.", summary="Whether this process answers"
)
async def get_health() -> Health:
    """Asks nobody else: a process is not to be restarted because PostgreSQL is down."""
    return Health(status="ok")


@router.head("/healthz", include_in_schema=False)
async def head_health() -> Response:
    return Response()


@router.get(
    "/readyz",
    operation_id="getReadiness",
    response_description="They all do.",
    summary="Whether every part it needs answers",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Some dependencies do not; they are named."}},
)
async def get_readiness(dependencies: Dependencies) -> Response:
    missing = await dependencies.missing()
    answer = Readiness(ready=not missing, missing=missing)
    headers = {"Retry-After": str(RETRY_AFTER)} if missing else None
    return JSONResponse(answer.model_dump(), 503 if missing else 200, headers)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="CampaignStats for Prometheus",
    response_class=PlainTextResponse,
    responses={200: content("Prometheus' text format.", "text/plain")},
)
async def get_metrics(dependencies: Dependencies, metrics: MetricsOf, patience: PatienceOf) -> Response:
    try:
        ledger = await patience.within(STATS_PATIENCE, dependencies.stats())
    except Unavailable:
        ledger = None
    return Response(metrics.exposition(ledger), headers={"Content-Type": CONTENT_TYPE_LATEST})
