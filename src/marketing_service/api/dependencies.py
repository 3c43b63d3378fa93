"""FastAPI dependencies of the routes: the resources, the caller, the Idempotency-Key, path and header parameters."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from marketing_service.api import idempotency
from marketing_service.api.limits import RequestLimits
from marketing_service.api.metrics import Metrics
from marketing_service.api.preconditions import versions_in
from marketing_service.api.progress_feeds import ProgressFeeds
from marketing_service.api.shared_result import SharedResult
from marketing_service.api.stream_slots import StreamSlots
from marketing_service.api.time_limit import TimeLimit
from marketing_service.auth import Principal
from marketing_service.bootstrap import Resources
from marketing_service.errors import FieldError, Forbidden, InvalidInput, Unauthenticated
from marketing_service.store.audit import Actor
from marketing_service.store.idempotency import KeyedRequest
from marketing_service.store.stats import LedgerStats

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    bearerFormat="JWT",
    description="An access token of the portal. Every valid token may read. Writing needs one of the writing roles.",
)


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _time_limit(request: Request) -> TimeLimit:
    time_limit: TimeLimit = request.app.state.time_limit
    return time_limit


async def _limits(request: Request) -> RequestLimits:
    limits: RequestLimits = request.app.state.limits
    return limits


async def _readiness(request: Request) -> SharedResult[dict[str, str]]:
    readiness: SharedResult[dict[str, str]] = request.app.state.readiness
    return readiness


async def _ledger_stats(request: Request) -> SharedResult[LedgerStats]:
    stats: SharedResult[LedgerStats] = request.app.state.ledger_stats
    return stats


async def _progress_feeds(request: Request) -> ProgressFeeds:
    feeds: ProgressFeeds = request.app.state.progress_feeds
    return feeds


async def _stream_slots(request: Request) -> StreamSlots:
    slots: StreamSlots = request.app.state.stream_slots
    return slots


Dependencies = Annotated[Resources, Depends(_resources)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]
ReadinessOf = Annotated[SharedResult[dict[str, str]], Depends(_readiness)]
LedgerStatsOf = Annotated[SharedResult[LedgerStats], Depends(_ledger_stats)]
TimeLimitOf = Annotated[TimeLimit, Depends(_time_limit)]
LimitsOf = Annotated[RequestLimits, Depends(_limits)]
ProgressFeedsOf = Annotated[ProgressFeeds, Depends(_progress_feeds)]
StreamSlotsOf = Annotated[StreamSlots, Depends(_stream_slots)]


async def _check_reader(request: Request) -> Principal:
    """The caller, by the headers alone. Raises Unauthenticated, Forbidden, RateLimited, or Unavailable (key server)."""
    caller: Principal | None = getattr(request.state, "caller", None)
    if caller is None:
        credentials = await _bearer(request)
        if credentials is None:
            raise Unauthenticated("Send an access token: Authorization: Bearer <token>.")
        resources: Resources = request.app.state.resources
        caller = await resources.authenticator.authenticate(credentials.credentials)
        limits: RequestLimits = request.app.state.limits
        await limits.count_user(request, caller)
        pseudonyms = resources.pseudonyms
        # For the request's line in the log.
        request.state.caller_pseudonyms = {
            "org": pseudonyms.of("org", caller.org_id),
            "subject": pseudonyms.of("subject", caller.subject),
        }
        request.state.caller = caller
    return caller


async def _reader(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
    """A caller with a valid token. Raises as `_check_reader`."""
    return await _check_reader(request)


Reader = Annotated[Principal, Depends(_reader)]


async def _check_writer(request: Request) -> Principal:
    """A caller who also has a writing role. Raises Forbidden, and as `_check_reader`."""
    caller = await _check_reader(request)
    if not caller.may_write:
        roles = ", ".join(request.app.state.resources.api_rules.write_roles)
        raise Forbidden(f"To change data you need one of these roles: {roles}.", "role")
    return caller


async def _writer(request: Request, _: Reader) -> Principal:
    return await _check_writer(request)


Writer = Annotated[Principal, Depends(_writer)]


async def _reading_actor(caller: Reader) -> Actor:
    return Actor(caller.org_id, caller.subject)


async def _writing_actor(caller: Writer) -> Actor:
    return Actor(caller.org_id, caller.subject)


# What a use case needs to record an act in the audit trail.
ReadingActor = Annotated[Actor, Depends(_reading_actor)]
WritingActor = Annotated[Actor, Depends(_writing_actor)]


async def _check_reporter(request: Request) -> Principal:
    """A caller with a role that may submit delivery reports. Raises Forbidden, and as `_check_reader`."""
    caller = await _check_reader(request)
    bounce_roles = request.app.state.resources.api_rules.bounce_roles
    if caller.roles.isdisjoint(bounce_roles):
        roles = ", ".join(bounce_roles)
        raise Forbidden(f"To submit a report you need one of these roles: {roles}.", "role")
    return caller


async def _reporter(request: Request, _: Reader) -> Principal:
    return await _check_reporter(request)


Reporter = Annotated[Principal, Depends(_reporter)]
ACCESS_CHECKS = {_reader: _check_reader, _writer: _check_writer, _reporter: _check_reporter}
"""For each dependency that names a caller, the check that needs only the headers (see AuthenticatedRoute)."""


async def _import_slot(request: Request, caller: Writer) -> AsyncIterator[None]:
    """Holds a slot until the response, for a route that receives a large file. Raises RateLimited."""
    with request.app.state.import_slots.hold(caller.org_id):
        yield


ImportSlot = Annotated[None, Depends(_import_slot)]
"""It is the first parameter of its route: `Idempotent` may read the body."""


async def body_announced_as(request: Request, media_type: str) -> bytes:
    """The body of a route that does not take JSON. Raises InvalidInput if the Content-Type is another one."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise InvalidInput(FieldError("Content-Type", f"must be {media_type}.", "media-type"))
    return await request.body()


async def no_query(request: Request) -> None:
    """Refuses every query parameter, for routes that have none. Raises InvalidInput."""
    unknown = [
        FieldError(key, "is not a query parameter of this address. Remove it.", "unknown")
        for key in request.query_params
    ]
    if unknown:
        raise InvalidInput(*unknown)


async def _versions(
    if_match: Annotated[
        str | None,
        Header(
            description="The ETag of the version that the change is based on. If the campaign has another version by"
            " now, the response is 412.",
            examples=[['"3"']],
        ),
    ] = None,
) -> frozenset[int] | None:
    return versions_in(if_match)


async def _idempotent(
    request: Request,
    dependencies: Dependencies,
    caller: Writer,
    _: Annotated[
        str | None,
        Header(
            alias=idempotency.HEADER,
            description="A text that you choose for this request, for example a UUID. If you repeat the request with"
            " the same key and body within 24 hours, you get the first response again, and nothing else is done.",
            json_schema_extra={
                "minLength": 1,
                "maxLength": idempotency.MAX_KEY,
                "pattern": idempotency.KEY_PATTERN,
            },
            examples=["5f0c6c3e-0e5b-4e1c-9a3c-7d1f2b8a4e6d"],
        ),
    ] = None,
) -> idempotency.IdempotentRequest:
    key = idempotency.read_key(request.headers.getlist(idempotency.HEADER))
    if key is None:
        return idempotency.IdempotentRequest(dependencies.transactions, None)
    route = f"{request.method} {request.url.path}"
    # In a thread: the hash of a file of 30 MB takes tens of milliseconds.
    body_hash = (await asyncio.to_thread(sha256, await request.body())).digest()
    return idempotency.IdempotentRequest(dependencies.transactions, KeyedRequest(caller.org_id, key, route, body_hash))


Idempotent = Annotated[idempotency.IdempotentRequest, Depends(_idempotent)]
Versions = Annotated[frozenset[int] | None, Depends(_versions)]
CampaignId = Annotated[UUID, Path(alias="id", description="The id of the campaign.")]
ResendId = Annotated[UUID, Path(alias="resendId", description="The `id` of the request to send again.")]
SendId = Annotated[UUID, Path(alias="sendId", description="The id of one send, from the email log of the campaign.")]
