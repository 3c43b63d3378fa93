"""What a route needs before its own work: the dependencies, the caller, a clean query."""

from hashlib import sha256
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from marketing_service.api import idempotency
from marketing_service.api.metrics import Metrics
from marketing_service.api.preconditions import versions_in
from marketing_service.api.time_limit import Patience
from marketing_service.auth import Principal
from marketing_service.bootstrap import Resources
from marketing_service.errors import FieldError, Forbidden, InvalidInput, Unauthenticated
from marketing_service.store.idempotency import KeyedRequest

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    bearerFormat="JWT",
    description="An access token of the portal. Any good one reads; writing needs one of the roles that may.",
)


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


async def _patience(request: Request) -> Patience:
    patience: Patience = request.app.state.patience
    return patience


Dependencies = Annotated[Resources, Depends(_resources)]
MetricsOf = Annotated[Metrics, Depends(_metrics)]
PatienceOf = Annotated[Patience, Depends(_patience)]


async def _reader(
    dependencies: Dependencies, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """Whoever has a good token. Raises Unauthenticated, Forbidden, Unavailable (the key server)."""
    if credentials is None:
        raise Unauthenticated("Send an access token: Authorization: Bearer <token>.")
    return await dependencies.authenticator.authenticate(credentials.credentials)


Reader = Annotated[Principal, Depends(_reader)]


async def _writer(dependencies: Dependencies, caller: Reader) -> Principal:
    """Whoever also has a role that may write. Raises Forbidden."""
    if not caller.may_write:
        roles = ", ".join(dependencies.settings.write_roles)
        raise Forbidden(f"Changing anything needs one of these roles: {roles}.", "role")
    return caller


Writer = Annotated[Principal, Depends(_writer)]


async def _reporter(dependencies: Dependencies, caller: Reader) -> Principal:
    """Whoever has a role that may hand over what came back. Raises Forbidden."""
    if caller.roles.isdisjoint(dependencies.settings.bounce_roles):
        roles = ", ".join(dependencies.settings.bounce_roles)
        raise Forbidden(f"Handing over what came back needs one of these roles: {roles}.", "role")
    return caller


Reporter = Annotated[Principal, Depends(_reporter)]


async def body_announced_as(request: Request, media_type: str) -> bytes:
    """The body, of a route that takes no JSON. Raises InvalidInput for one that is announced as something else."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise InvalidInput(FieldError("Content-Type", f"must be {media_type}.", "media-type"))
    return await request.body()


async def no_query(request: Request) -> None:
    """For routes that know no query parameter: one that is sent is refused, as unknown fields are."""
    unknown = [FieldError(key, "is not known here.", "unknown") for key in request.query_params]
    if unknown:
        raise InvalidInput(*unknown)


async def _versions(
    if_match: Annotated[
        str | None,
        Header(
            description="Only if the campaign is still at this version, as its ETag said.",
            examples=[['"3"']],
        ),
    ] = None,
) -> frozenset[int] | None:
    return versions_in(if_match)


async def _once(
    request: Request,
    dependencies: Dependencies,
    caller: Writer,
    _: Annotated[
        str | None,
        Header(
            alias=idempotency.HEADER,
            description="Any text of your own that stands for this request. Sent again within 24 hours with the same"
            " key and body, it is answered as it was the first time, and nothing more is done.",
            json_schema_extra={
                "minLength": 1,
                "maxLength": idempotency.MAX_KEY,
                "pattern": idempotency.KEY_PATTERN,
            },
            examples=["5f0c6c3e-0e5b-4e1c-9a3c-7d1f2b8a4e6d"],
        ),
    ] = None,
) -> idempotency.Once:
    key = idempotency.read_key(request.headers.getlist(idempotency.HEADER))
    if key is None:
        return idempotency.Once(dependencies.transactions, None)
    route = f"{request.method} {request.url.path}"
    body_hash = sha256(await request.body()).digest()
    return idempotency.Once(dependencies.transactions, KeyedRequest(caller.org_id, key, route, body_hash))


Idempotent = Annotated[idempotency.Once, Depends(_once)]
Versions = Annotated[frozenset[int] | None, Depends(_versions)]
CampaignId = Annotated[UUID, Path(alias="id", description="The campaign.")]
SendId = Annotated[UUID, Path(alias="sendId", description="One send of the campaign, as the email log names it.")]
