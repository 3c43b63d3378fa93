"""What recipients and their mail programs call: the pixel and the unsubscribe link. The token is the only key."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, Response

from marketing_service import tracking
from marketing_service.api import pages
from marketing_service.api.dependencies import MetricsOf, Parts, PatienceOf
from marketing_service.api.documented import Responses, content, problem_answers
from marketing_service.api.patience import Patience
from marketing_service.errors import Unavailable
from marketing_service.tokens import Purpose

PIXEL_PATH = "/api/marketing/pixel/{token}.gif"
UNSUBSCRIBE_PATH = "/api/marketing/unsubscribe/{token}"

# Seconds. A mail program shows nothing of the message's pictures until it has this one, so it does not wait long.
OPEN_PATIENCE = 2.0
OPT_OUT_PATIENCE = 3.5
RETRY_AFTER = 30

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""One transparent pixel."""

router = APIRouter(tags=["public"])

Token = Annotated[str, Path(description="From a message; it stands for one send, and for one purpose.")]
_PAGES: Responses = {
    200: content("The page that confirms, or one with a button.", "text/html"),
    404: content("The token is not one of ours.", "text/html"),
    503: content("Not opted out yet: try again.", "text/html"),
}


def _pixel() -> Response:
    return Response(GIF, media_type="image/gif", headers={"Cache-Control": "no-store"})


@router.get(
    PIXEL_PATH,
    operation_id="getPixel",
    summary="Load the pixel of a message",
    response_class=Response,
    responses={200: content("Always the same picture.", "image/gif", {"type": "string", "format": "binary"})},
)
async def get_pixel(token: Token, parts: Parts, metrics: MetricsOf, patience: PatienceOf) -> Response:
    """A good token counts as an open of its send. Nothing about the answer tells a good token from a bad one."""
    send_id = parts.tokens.read(Purpose.OPEN, token)
    if send_id is not None:
        try:
            await patience.within(OPEN_PATIENCE, tracking.record_open(parts.transactions, send_id))
        except Unavailable:
            metrics.opens_lost.inc()
    return _pixel()


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
    if parts.settings.unsubscribe_get == "confirm" or _only_fetching_ahead(request):
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


def _only_fetching_ahead(request: Request) -> bool:
    """Whether a browser loads the page for a click that may never come."""
    purposes = [request.headers.get(name, "").lower() for name in ("sec-purpose", "purpose", "x-purpose", "x-moz")]
    return any("prefetch" in purpose or "preview" in purpose for purpose in purposes)
