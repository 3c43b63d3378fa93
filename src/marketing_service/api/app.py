"""The application: the routers, and the layers around them. Nothing here is open yet, or made at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from marketing_service import __version__
from marketing_service.api import error_handlers
from marketing_service.api.deadline import Deadline
from marketing_service.api.metrics import Metrics
from marketing_service.api.middleware import Edge
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
from marketing_service.api.time_limit import Patience
from marketing_service.tracking import Opens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp

    from marketing_service.bootstrap import Resources

OPEN_PATIENCE = 2.0
"""Seconds. A mail program shows nothing of the message's pictures until it has the pixel, so it does not wait long."""

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


def create_app(resources: Resources, more_routers: Sequence[APIRouter] = ()) -> ASGIApp:
    """The whole service over open resources; whoever opened them closes them. `more_routers` are served beside it and
    are no part of it: the console, the log-in stand-in."""
    app = routed_app(resources, more_routers)
    return PixelMiddleware(
        app,
        tokens=resources.tokens,
        opens=Opens(resources.call, timeout=OPEN_PATIENCE),
        metrics=app.state.metrics,
        proxy_hops=resources.settings.proxy_hops,
    )


def routed_app(resources: Resources | None, more_routers: Sequence[APIRouter] = ()) -> FastAPI:
    """The application behind the pixel's door. With None it can only be described."""
    routers = (*_ROUTERS, *more_routers)
    app = FastAPI(
        title="Marketing service",
        version=__version__,
        summary="Bulk email campaigns to a company's CRM contacts.",
        # Nothing redirects, and no page is served that would fetch its scripts from elsewhere.
        redirect_slashes=False,
        openapi_url=None,
    )
    app.state.resources = resources
    app.state.metrics = Metrics()
    app.state.patience = Patience()
    for router in routers:
        app.include_router(router)
    error_handlers.install(app, [route for router in routers for route in router.routes])
    app.add_middleware(Deadline)
    app.add_middleware(Edge, metrics=app.state.metrics)
    return app
