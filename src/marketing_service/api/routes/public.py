"""What recipients and their mail programs call: the pixel and the unsubscribe link. The token is the only key."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from marketing_service import tracking
from marketing_service.api import pages
from marketing_service.api.dependencies import Parts, PatienceOf
from marketing_service.api.documented import Responses, content, problem_answers
from marketing_service.api.patience import Patience
from marketing_service.api.pixel import GIF, PIXEL_PATH
from marketing_service.api.pixel import HEADERS as PIXEL_HEADERS
from marketing_service.errors import Unavailable
from marketing_service.tokens import Purpose

UNSUBSCRIBE_PATH = "/api/marketing/unsubscribe/{token}"

OPT_OUT_PATIENCE = 3.5
"""Seconds."""
RETRY_AFTER = 30

router = APIRouter(tags=["public"])

Token = Annotated[str, Path(alias="token", description="From a message; it stands for one send, and for one purpose.")]
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
    return _pixel()  # a good one never comes here: see PixelDoor


@router.head(PIXEL_PATH, include_in_schema=False)
async def head_pixel() -> Response:
    return _pixel()


@router.get(
    UNSUBSCRIBE_PATH,
    operation_id="openUnsubscribePage",
    summary="Follow the unsubscribe link",
    response_class=HTMLResponse,
    responses=_PAGES,
)
async def open_unsubscribe_page(token: Token, request: Request, parts: Parts, patience: PatienceOf) -> Response:
    """Opts out at once, or (as the installation is set up, and for a browser that only fetches ahead) asks first."""
    if parts.settings.unsubscribe_get == "confirm" or tracking.machine_rules().is_prefetch(request.headers):
        return await _ask(token, parts, patience)
    return await _opt_out(token, parts, patience)


@router.head(UNSUBSCRIBE_PATH, include_in_schema=False)
async def head_unsubscribe_page(token: Token, parts: Parts, patience: PatienceOf) -> Response:
    return await _ask(token, parts, patience)


@router.post(
    UNSUBSCRIBE_PATH,
    operation_id="unsubscribe",
    summary="Opt out (RFC 8058 one-click)",
    response_class=HTMLResponse,
    responses=_PAGES | problem_answers(413),
)
async def unsubscribe(token: Token, parts: Parts, patience: PatienceOf) -> Response:
    """Always acts. The body is not read: the token says it all, and senders encode the body in every way."""
    return await _opt_out(token, parts, patience)


async def _ask(token: str, parts: Parts, patience: Patience) -> Response:
    send_id = parts.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response()
    try:
        there = await patience.within(OPT_OUT_PATIENCE, tracking.send_exists(parts.transactions, send_id))
    except Unavailable:
        there = True  # the button asks again
    return (pages.ASK if there else pages.NOT_FOUND).response()


async def _opt_out(token: str, parts: Parts, patience: Patience) -> Response:
    """The page says it is done only after it has been committed."""
    send_id = parts.tokens.read(Purpose.UNSUBSCRIBE, token)
    if send_id is None:
        return pages.NOT_FOUND.response()
    work = tracking.opt_out(parts.transactions, parts.doorbell, send_id)
    try:
        done = await patience.within(OPT_OUT_PATIENCE, work)
    except Unavailable:
        return pages.UNAVAILABLE.response({"Retry-After": str(RETRY_AFTER)})
    return (pages.CONFIRMED if done else pages.NOT_FOUND).response()
