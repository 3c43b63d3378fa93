"""What recipients and their mail programs call: the pixel, links, the unsubscribe link. The token is the only key."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from marketing_service import tracking
from marketing_service.api import pages
from marketing_service.api.dependencies import Dependencies, PatienceOf
from marketing_service.api.openapi_responses import Responses, content, problem_responses
from marketing_service.api.pixel import GIF, PIXEL_PATH
from marketing_service.api.pixel import HEADERS as PIXEL_HEADERS
from marketing_service.api.time_limit import Patience
from marketing_service.api.visitors import machine_reason
from marketing_service.errors import Unavailable
from marketing_service.rendering import MAX_LINKS
from marketing_service.tokens import Purpose

CLICK_PATH = "/api/marketing/click/{token}/{number}"
UNSUBSCRIBE_PATH = "/api/marketing/unsubscribe/{token}"

CLICK_PATIENCE = 3.5
"""Seconds."""
OPT_OUT_PATIENCE = 3.5
"""Seconds."""
RETRY_AFTER = 30

router = APIRouter(tags=["public"])

Token = Annotated[str, Path(alias="token", description="From a message; it stands for one send, and for one purpose.")]
Number = Annotated[str, Path(description="The number of one of the campaign's links.", examples=["1"])]
_NUMBER = re.compile("[1-9][0-9]{0,2}")
_CLICKED: Responses = {
    302: {
        "description": "To where the link leads.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    404: content("The token or the number is not one of ours.", "text/html"),
    503: content("Try again.", "text/html"),
}
_PAGES: Responses = {
    200: content("The page that confirms, or one with a button.", "text/html"),
    404: content("The token is not one of ours.", "text/html"),
    503: content("Not opted out yet: try again.", "text/html"),
}


def _pixel() -> Response:
    return Response(GIF, headers=PIXEL_HEADERS)


@router.get(
    PIXEL_PATH,
    operation_id="getPixel",
    summary="Load the pixel of a message",
    response_class=Response,
    responses={200: content("Always the same picture.", "image/gif", {"type": "string", "format": "binary"})},
)
async def get_pixel(_: Token) -> Response:
    """A good token counts as an open of its send. Nothing about the answer tells a good token from a bad one."""
    return _pixel()  # a good one never comes here: see PixelMiddleware


@router.head(PIXEL_PATH, include_in_schema=False)
async def head_pixel() -> Response:
    return _pixel()


@router.get(
    CLICK_PATH,
    operation_id="followLink",
    summary="Follow a link of a message",
    status_code=302,
    response_class=Response,
    responses=_CLICKED,
)
async def follow_link(
    token: Token, number: Number, request: Request, dependencies: Dependencies, patience: PatienceOf
) -> Response:
    """Leads nowhere but to the campaign's own links."""
    return await _follow(token, number, request, dependencies, patience, counts=True)


@router.head(CLICK_PATH, include_in_schema=False)
async def head_link(
    token: Token, number: Number, request: Request, dependencies: Dependencies, patience: PatienceOf
) -> Response:
    return await _follow(token, number, request, dependencies, patience, counts=False)


async def _follow(
    token: str, number: str, request: Request, dependencies: Dependencies, patience: Patience, *, counts: bool
) -> Response:
    send_id = dependencies.tokens.read(Purpose.CLICK, token)
    if send_id is None or not _NUMBER.fullmatch(number) or int(number) > MAX_LINKS:
        return pages.LINK_NOT_FOUND.response(_languages(request))
    reason = machine_reason(request.scope, request.headers, proxy_hops=dependencies.settings.proxy_hops)
    work = tracking.follow_link(
        dependencies.transactions, send_id, int(number), counts=counts, by_machine=reason is not None
    )
    try:
        target = await patience.within(CLICK_PATIENCE, work)
    except Unavailable:
        return pages.LINK_UNAVAILABLE.response(_languages(request), {"Retry-After": str(RETRY_AFTER)})
    if target is None:
        return pages.LINK_NOT_FOUND.response(_languages(request))
    headers = {"Location": target, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status_code=302, headers=headers)


@router.get(
    UNSUBSCRIBE_PATH,
    operation_id="openUnsubscribePage",
    summary="Follow the unsubscribe link",
    response_class=HTMLResponse,
    responses=_PAGES,
)
async def open_unsubscribe_page(
    token: Token, request: Request, dependencies: Dependencies, patience: PatienceOf
) -> Response:
    """Opts out at once, or (as the installation is set up, and for a browser that only fetches ahead) asks first."""
    if dependencies.settings.unsubscribe_get == "confirm" or tracking.machine_rules().is_prefetch(request.headers):
        return await _ask(token, request, dependencies, patience)
    return await _opt_out(token, request, dependencies, patience)


@router.head(UNSUBSCRIBE_PATH, include_in_schema=False)
async def head_unsubscribe_page(
    token: Token, request: Request, dependencies: Dependencies, patience: PatienceOf
) -> Response:
    return await _ask(token, request, dependencies, patience)


@router.post(
    UNSUBSCRIBE_PATH,
    operation_id="unsubscribe",
    summary="Opt out (RFC 8058 one-click)",
    response_class=HTMLResponse,
    responses=_PAGES | problem_responses(413),
)
async def unsubscribe(token: Token, request: Request, dependencies: Dependencies, patience: PatienceOf) -> Response:
    """Always acts. The body is not read: the token says it all, and senders encode the body in every way."""
    return await _opt_out(token, request, dependencies, patience)


async def _ask(token: str, request: Request, dependencies: Dependencies, patience: Patience) -> Response:
    send_id = dependencies.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response(_languages(request))
    try:
        there = await patience.within(OPT_OUT_PATIENCE, tracking.send_exists(dependencies.transactions, send_id))
    except Unavailable:
        there = True  # the button asks again
    return (pages.ASK if there else pages.NOT_FOUND).response(_languages(request))


async def _opt_out(token: str, request: Request, dependencies: Dependencies, patience: Patience) -> Response:
    """The page says it is done only after it has been committed."""
    send_id = dependencies.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response(_languages(request))
    work = tracking.opt_out(dependencies.transactions, dependencies.job_queue, send_id)
    try:
        done = await patience.within(OPT_OUT_PATIENCE, work)
    except Unavailable:
        return pages.UNAVAILABLE.response(_languages(request), {"Retry-After": str(RETRY_AFTER)})
    return (pages.CONFIRMED if done else pages.NOT_FOUND).response(_languages(request))


def _languages(request: Request) -> str:
    return ",".join(request.headers.getlist("accept-language"))
