"""The live progress of one campaign, as server-sent events."""

from fastapi import APIRouter, Depends, Response

from marketing_service.api.authenticated_route import AuthenticatedRoute
from marketing_service.api.dependencies import CampaignId, ProgressFeedsOf, Reader, StreamSlotsOf, no_query
from marketing_service.api.event_stream import MEDIA_TYPE, ProgressStream
from marketing_service.api.openapi_responses import content, responses
from marketing_service.api.routes.campaigns import ONE

router = APIRouter(route_class=AuthenticatedRoute, tags=["stats"])

_EXAMPLE = (
    'event: stats\ndata: {"status":"SENDING","recipients":1000,"queued":738,"sending":10,"deferred":2,"delivered":250,'
    '…,"ratePerSecond":50.0,"secondsLeft":15}\n\nevent: done\ndata: {"status":"SENT"}\n\n'
)
_SCHEMA = {
    "type": "string",
    "description": "Events as in the HTML Standard. The data of `stats` is a JSON object with the schema"
    " ProgressResponse: a snapshot, not a difference. The data of `done` has the schema DoneResponse.",
    "examples": [_EXAMPLE],
}


@router.get(
    ONE + "/events",
    operation_id="watchCampaign",
    summary="Watch the progress of a campaign live",
    response_class=Response,
    dependencies=[Depends(no_query)],
    responses={200: content("The stream of events.", MEDIA_TYPE, _SCHEMA), **responses(404)},
)
async def watch_campaign(
    caller: Reader, campaign_id: CampaignId, feeds: ProgressFeedsOf, slots: StreamSlotsOf
) -> Response:
    """Server-sent events: `stats` at once, and again when the stats have changed, at most once a second. When the
    campaign is SENT or FAILED, the last events are `stats` and `done`, and the stream ends. A comment comes after
    15 seconds without an event.

    A stream that ends without `done` is to be opened again: it ends when the token expires, after an hour, and when the
    service is restarted. A user may have 50 open streams. Browsers cannot add an access token to an `EventSource`: read
    the stream with `fetch`."""
    return ProgressStream(feeds, slots, caller=caller, campaign_id=campaign_id)
