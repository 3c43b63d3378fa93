"""The public routes for recipients and their mail programs: pixel, links, unsubscribe. The token authorises the
call."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from marketing_service import tracking
from marketing_service.api import pages
from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.client_detection import machine_reason
from marketing_service.api.dependencies import Dependencies, TimeLimitOf
from marketing_service.api.openapi_responses import Responses, content, problem_responses
from marketing_service.api.pixel import GIF, PIXEL_PATH
from marketing_service.api.pixel import HEADERS as PIXEL_HEADERS
from marketing_service.api.time_limit import TimeLimit
from marketing_service.errors import Unavailable
from marketing_service.rendering import MAX_LINKS
from marketing_service.tokens import Purpose

CLICK_PATH = "/api/marketing/click/{token}/{number}"
UNSUBSCRIBE_PATH = "/api/marketing/unsubscribe/{token}"

CLICK_TIMEOUT = 3.5
"""Seconds."""
OPT_OUT_TIMEOUT = 3.5
"""Seconds."""
RETRY_AFTER = 30
"""Seconds."""

router = APIRouter(route_class=AuthenticatedRoute, tags=["public"])

Token = Annotated[
    str, Path(alias="token", description="The token from the message. It is valid for one send and one purpose.")
]
Number = Annotated[str, Path(description="The number of a link of the campaign.", examples=["1"])]
_NUMBER = re.compile("[1-9][0-9]{0,2}")
_LINK_RESPONSES: Responses = {
    **problem_responses(429),
    302: {
        "description": "Redirects to the target of the link.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    404: content("The token or the number is not valid.", "text/html"),
    503: content("The link could not be read. Try again.", "text/html"),
}
_PAGE_RESPONSES: Responses = {
    **problem_responses(429),
    200: content("The page that confirms the opt-out, or a page with a button.", "text/html"),
    404: content("The token is not valid.", "text/html"),
    503: content("The opt-out is not saved. Try again.", "text/html"),
}


def _pixel() -> Response:
    return Response(GIF, headers=PIXEL_HEADERS)


@router.get(
    PIXEL_PATH,
    operation_id="getPixel",
    summary="Load the pixel of a message",
    response_class=Response,
    responses={
        200: content("The pixel. It is the same for every token.", "image/gif", {"type": "string", "format": "binary"}),
        **problem_responses(429),
    },
)
async def get_pixel(_: Token) -> Response:
    """With a valid token, this counts as an open of the send. The response does not show whether the token is valid."""
    return _pixel()  # requests with a valid token do not get here: see PixelMiddleware


@router.head(PIXEL_PATH, include_in_schema=False)
async def head_pixel() -> Response:
    return _pixel()


@router.get(
    CLICK_PATH,
    operation_id="followLink",
    summary="Follow a link of a message",
    status_code=302,
    response_class=Response,
    responses=_LINK_RESPONSES,
)
async def follow_link(
    token: Token, number: Number, request: Request, dependencies: Dependencies, time_limit: TimeLimitOf
) -> Response:
    """Redirects only to links of the campaign itself."""
    return await _follow(token, number, request, dependencies, time_limit, counts=True)


@router.head(CLICK_PATH, include_in_schema=False)
async def head_link(
    token: Token, number: Number, request: Request, dependencies: Dependencies, time_limit: TimeLimitOf
) -> Response:
    return await _follow(token, number, request, dependencies, time_limit, counts=False)


async def _follow(
    token: str, number: str, request: Request, dependencies: Dependencies, time_limit: TimeLimit, *, counts: bool
) -> Response:
    send_id = dependencies.tokens.read(Purpose.CLICK, token)
    if send_id is None or not _NUMBER.fullmatch(number) or int(number) > MAX_LINKS:
        return pages.LINK_NOT_FOUND.response(_languages(request))
    reason = machine_reason(request.scope, request.headers, proxy_hops=dependencies.api_rules.proxy_hops)
    work = tracking.follow_link(
        dependencies.transactions, send_id, int(number), counts=counts, by_machine=reason is not None
    )
    try:
        target = await time_limit.within(CLICK_TIMEOUT, work)
    except Unavailable:
        return pages.LINK_UNAVAILABLE.response(_languages(request), {"Retry-After": str(RETRY_AFTER)})
    if target is None:
        return pages.LINK_NOT_FOUND.response(_languages(request))
    headers = {"Location": target, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(status_code=302, headers=headers)


@router.get(
    UNSUBSCRIBE_PATH,
    operation_id="openUnsubscribePage",
    summary="Open the unsubscribe link",
    response_class=HTMLResponse,
    responses=_PAGE_RESPONSES,
)
async def open_unsubscribe_page(
    token: Token, request: Request, dependencies: Dependencies, time_limit: TimeLimitOf
) -> Response:
    """Opts out at once and confirms it. For a prefetch, or if the installation is configured so, it shows a page with a
    button instead."""
    if dependencies.api_rules.confirm_unsubscribe or tracking.machine_rules().is_prefetch(request.headers):
        return await _show_button(token, request, dependencies, time_limit)
    return await _opt_out(token, request, dependencies, time_limit)


@router.head(UNSUBSCRIBE_PATH, include_in_schema=False)
async def head_unsubscribe_page(
    token: Token, request: Request, dependencies: Dependencies, time_limit: TimeLimitOf
) -> Response:
    return await _show_button(token, request, dependencies, time_limit)


@router.post(
    UNSUBSCRIBE_PATH,
    operation_id="unsubscribe",
    summary="Opt out (RFC 8058 one-click)",
    response_class=HTMLResponse,
    responses=_PAGE_RESPONSES | problem_responses(413),
)
async def unsubscribe(token: Token, request: Request, dependencies: Dependencies, time_limit: TimeLimitOf) -> Response:
    """Always opts out. The body is not read: the token is enough, and mail programs encode the body in different
    ways."""
    return await _opt_out(token, request, dependencies, time_limit)


async def _show_button(token: str, request: Request, dependencies: Dependencies, time_limit: TimeLimit) -> Response:
    send_id = dependencies.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response(_languages(request))
    try:
        there = await time_limit.within(OPT_OUT_TIMEOUT, tracking.send_exists(dependencies.transactions, send_id))
    except Unavailable:
        there = True  # the POST of the button looks the send up again
    return (pages.ASK if there else pages.NOT_FOUND).response(_languages(request))


async def _opt_out(token: str, request: Request, dependencies: Dependencies, time_limit: TimeLimit) -> Response:
    """The page confirms the opt-out only after the commit."""
    send_id = dependencies.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response(_languages(request))
    work = tracking.opt_out(dependencies.transactions, dependencies.job_queue, send_id)
    try:
        done = await time_limit.within(OPT_OUT_TIMEOUT, work)
    except Unavailable:
        return pages.UNAVAILABLE.response(_languages(request), {"Retry-After": str(RETRY_AFTER)})
    return (pages.CONFIRMED if done else pages.NOT_FOUND).response(_languages(request))


def _languages(request: Request) -> str:
    return ",".join(request.headers.getlist("accept-language"))
