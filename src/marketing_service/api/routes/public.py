"""The public routes for recipients and their mail programs: pixel, links, unsubscribe. The token authorises the
call."""

import re
import time
from contextlib import suppress
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
HEAD_OF_PIXEL_TIMEOUT = 2.0
"""Seconds."""
RETRY_AFTER = 30
"""Seconds."""

router = APIRouter(route_class=AuthenticatedRoute, tags=["public"])

Token = Annotated[
    str,
    Path(
        alias="token",
        description="The token from the message. It is valid for one send and one purpose. What mail programs add to a"
        " link, before, after or in the middle of the token, is ignored.",
    ),
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
async def head_pixel(token: Token, dependencies: Dependencies, time_limit: TimeLimitOf) -> Response:
    """Counts no open. The time is recorded, because only a machine asks for the head of a picture."""
    send_id = dependencies.tokens.read(Purpose.OPEN, token)
    if send_id is not None:
        with suppress(Unavailable):
            await time_limit.within(HEAD_OF_PIXEL_TIMEOUT, tracking.note_request(dependencies.transactions, send_id))
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
    by_machine = _is_by_machine(request, dependencies)
    work = tracking.follow_link(dependencies.transactions, send_id, int(number), counts=counts, by_machine=by_machine)
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
    """Opts out at once and confirms it. It shows a page with a button instead if the request looks like a machine's, or
    if the installation is configured so. A request is a machine's by its headers and its client's network, within 5
    seconds of the delivery, or if the pixel or another link of the message was requested in the second before."""
    arrived = time.monotonic()
    if dependencies.api_rules.confirm_unsubscribe or _is_by_machine(request, dependencies):
        return await _show_button(token, request, dependencies, time_limit)
    return await _opt_out(token, request, dependencies, time_limit, arrived=arrived)


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


_PAGES = {
    tracking.Following.OPTED_OUT: pages.CONFIRMED,
    tracking.Following.BY_MACHINE: pages.ASK,
    tracking.Following.NO_SEND: pages.NOT_FOUND,
}


async def _opt_out(
    token: str, request: Request, dependencies: Dependencies, time_limit: TimeLimit, *, arrived: float | None = None
) -> Response:
    """The page confirms the opt-out only after the commit. With `arrived`, by `time.monotonic()`, the send's row may
    show that the request is a machine's; then the page has a button."""
    send_id = dependencies.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response(_languages(request))
    work = tracking.follow_unsubscribe_link(dependencies.transactions, dependencies.job_queue, send_id, arrived=arrived)
    try:
        following = await time_limit.within(OPT_OUT_TIMEOUT, work)
    except Unavailable:
        return pages.UNAVAILABLE.response(_languages(request), {"Retry-After": str(RETRY_AFTER)})
    return _PAGES[following].response(_languages(request))


def _is_by_machine(request: Request, dependencies: Dependencies) -> bool:
    """Whether the headers or the client's network say that a machine requests the link."""
    proxy_hops = dependencies.api_rules.proxy_hops
    return machine_reason(request.scope, request.headers, proxy_hops=proxy_hops, of_link=True) is not None


def _languages(request: Request) -> str:
    return ",".join(request.headers.getlist("accept-language"))
