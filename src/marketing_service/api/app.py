"""The ASGI application: the routers and the middleware. Importing this module opens nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from marketing_service import __version__
from marketing_service.api import error_handlers
from marketing_service.api.deadline import SECONDS, DeadlineMiddleware
from marketing_service.api.metrics import Metrics
from marketing_service.api.middleware import RequestMiddleware
from marketing_service.api.pixel import PixelMiddleware
from marketing_service.api.routes import (
    audience,
    bounces,
    campaigns,
    health,
    lifecycle,
    preflight,
    public,
    sends,
    stats,
    suppressions,
)
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
    audience.router,
    preflight.router,
    sends.router,
    suppressions.router,
    bounces.router,
    public.router,
    health.router,
)


def create_app(
    resources: Resources, more_routers: Sequence[APIRouter] = (), *, response_seconds: float = SECONDS
) -> ASGIApp:
    """The whole service on open resources. The caller closes the resources. `more_routers` are served too, but are not
    part of the API: the console, the log-in page for development. A response must start within `response_seconds`."""
    app = routed_app(resources, more_routers, response_seconds=response_seconds)
    return PixelMiddleware(
        app,
        tokens=resources.tokens,
        opens=Opens(resources.call, timeout=OPEN_TIMEOUT),
        metrics=app.state.metrics,
        proxy_hops=resources.api_rules.proxy_hops,
    )


def routed_app(
    resources: Resources | None, more_routers: Sequence[APIRouter] = (), *, response_seconds: float = SECONDS
) -> FastAPI:
    """The application without PixelMiddleware. With None it cannot serve requests, only describe itself (OpenAPI)."""
    routers = (*_ROUTERS, *more_routers)
    app = FastAPI(
        title="Marketing service",
        version=__version__,
        summary="Bulk email campaigns to a company's CRM contacts.",
        # FastAPI's own documentation pages load scripts from another site, so they are off.
        redirect_slashes=False,
        openapi_url=None,
    )
    app.state.resources = resources
    app.state.metrics = Metrics()
    app.state.time_limit = TimeLimit()
    for router in routers:
        app.include_router(router)
    error_handlers.install(app, [route for router in routers for route in router.routes])
    app.add_middleware(DeadlineMiddleware, seconds=response_seconds)
    app.add_middleware(RequestMiddleware, metrics=app.state.metrics)
    return app
