"""The ASGI application: the routers and the middleware. Importing this module opens nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from marketing_service import __version__
from marketing_service.api import error_handlers
from marketing_service.api.deadline import SECONDS, DeadlineMiddleware
from marketing_service.api.event_stream import encode
from marketing_service.api.import_slots import ImportSlots
from marketing_service.api.limits import CONSOLE_PREFIX, LimitsMiddleware, RequestLimits
from marketing_service.api.metrics import Metrics
from marketing_service.api.middleware import RequestMiddleware
from marketing_service.api.pixel import PixelMiddleware
from marketing_service.api.progress_feeds import ProgressFeeds
from marketing_service.api.root_path import RootPathMiddleware
from marketing_service.api.routes import (
    audience,
    audit,
    bounces,
    campaigns,
    events,
    lifecycle,
    preflight,
    public,
    sends,
    stats,
    suppressions,
)
from marketing_service.api.routes import health as health_routes
from marketing_service.api.shared_result import SharedResult
from marketing_service.api.stream_slots import StreamSlots
from marketing_service.api.time_limit import TimeLimit
from marketing_service.tracking import Opens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from marketing_service.bootstrap import Resources

OPEN_TIMEOUT = 2.0
"""Seconds to wait for the commit of an open. It is short because some mail programs show no picture of the message
before they have the pixel."""

_ROUTERS = (
    campaigns.router,
    lifecycle.router,
    stats.router,
    events.router,
    audience.router,
    preflight.router,
    sends.router,
    suppressions.router,
    audit.router,
    bounces.router,
    public.router,
)


def create_app(
    resources: Resources,
    more_routers: Sequence[APIRouter] = (),
    *,
    metrics: Metrics | None = None,
    feeds: ProgressFeeds | None = None,
    health: bool = True,
    root_path: str = "",
    response_seconds: float = SECONDS,
) -> ASGIApp:
    """The public application on open resources. The caller closes the resources.

    `more_routers` are served too, but are not part of the API: the console, the log-in page for development. `metrics`
    are shared with the internal application. The caller stops `feeds`, which ends the event streams. With `health`,
    `/healthz` is served here: then nothing else is inside. `root_path` is the prefix of the paths at the proxy. A
    response must start within `response_seconds`.
    """
    metrics = metrics or Metrics()
    public_routers = (*more_routers, *([health_routes.liveness] if health else ()))
    app = routed_app(resources, public_routers, metrics=metrics, response_seconds=response_seconds)
    app.state.progress_feeds = feeds or ProgressFeeds(resources.transactions, encode)
    metrics.show_event_streams(lambda: app.state.stream_slots.open)
    with_pixel = PixelMiddleware(
        app,
        tokens=resources.tokens,
        opens=Opens(resources.call, timeout=OPEN_TIMEOUT),
        metrics=metrics,
        proxy_hops=resources.api_rules.proxy_hops,
    )
    return RootPathMiddleware(with_pixel, root_path) if root_path else with_pixel


def create_internal_app(resources: Resources, *, metrics: Metrics, response_seconds: float = SECONDS) -> FastAPI:
    """The application for the operators: health, readiness and metrics. It has no limits and no log-in."""
    routers = (health_routes.liveness, health_routes.router)
    return _app(resources, routers, metrics=metrics, limits=None, response_seconds=response_seconds)


def routed_app(
    resources: Resources | None,
    more_routers: Sequence[APIRouter] = (),
    *,
    metrics: Metrics | None = None,
    response_seconds: float = SECONDS,
) -> FastAPI:
    """The public application without PixelMiddleware. With None it cannot serve requests of the API, only describe
    itself (OpenAPI)."""
    metrics = metrics or Metrics()
    limits = None if resources is None else RequestLimits(resources.limiter, metrics)
    routers = (*_ROUTERS, *more_routers)
    return _app(resources, routers, metrics=metrics, limits=limits, response_seconds=response_seconds)


def _app(
    resources: Resources | None,
    routers: Sequence[APIRouter],
    *,
    metrics: Metrics,
    limits: RequestLimits | None,
    response_seconds: float,
) -> FastAPI:
    app = FastAPI(
        title="Marketing service",
        version=__version__,
        summary="Bulk email campaigns to a company's CRM contacts.",
        # FastAPI's own documentation pages load scripts from another site, so they are off.
        redirect_slashes=False,
        openapi_url=None,
    )
    app.state.resources = resources
    app.state.metrics = metrics
    app.state.readiness = SharedResult()
    app.state.ledger_stats = SharedResult()
    app.state.time_limit = TimeLimit()
    app.state.limits = limits
    app.state.import_slots = ImportSlots()
    app.state.stream_slots = StreamSlots()
    for router in routers:
        app.include_router(router)
    error_handlers.install(app, [route for router in routers for route in router.routes])
    app.add_middleware(DeadlineMiddleware, seconds=response_seconds)
    if resources is not None and limits is not None:
        app.add_middleware(
            LimitsMiddleware,
            limits=limits,
            tokens=resources.tokens,
            proxy_hops=resources.api_rules.proxy_hops,
            has_console=any(router.prefix == CONSOLE_PREFIX for router in routers),
        )
    app.add_middleware(RequestMiddleware, metrics=metrics)
    return app
