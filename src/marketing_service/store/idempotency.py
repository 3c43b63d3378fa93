"""Idempotency keys: the transaction that does what a request asks for also stores the response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from marketing_service.errors import KeyReused, RequestInFlight
from marketing_service.store.tables import idempotency_keys as keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

_OLDEST = text("now() - interval '24 hours'")
_DELETED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that may be repeated. `route` is its method and path, `body_hash` the SHA-256 of its body."""

    org_id: str
    key: str
    route: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """What is needed to repeat an HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# One hash of 64 bits: with two hashes of 32 bits, different keys would collide too often.
_LOCK_KEY = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, hashtextextended(:org_id, 0)))")


async def stored_response(connection: AsyncConnection, request: KeyedRequest) -> StoredResponse | None:
    """Lock the key until the transaction ends; returns the response that the same request got in the last 24 hours.

    Raises RequestInFlight if another transaction has locked the key, KeyReused if it belongs to another request.
    """
    # Two statements: one statement would read the row as it was before it got the lock.
    if not (await connection.execute(_LOCK_KEY, {"org_id": request.org_id, "key": request.key})).scalar_one():
        raise RequestInFlight("A request with this Idempotency-Key is being worked on; repeat it in a moment.")
    statement = select(keys.c.route, keys.c.body_hash, keys.c.status, keys.c.headers, keys.c.body).where(
        keys.c.org_id == request.org_id, keys.c.key == request.key, keys.c.created_at > _OLDEST
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if (row.route, row.body_hash) != (request.route, request.body_hash):
        raise KeyReused("This Idempotency-Key was used for another request; choose a new one for each.")
    return StoredResponse(row.status, row.headers, row.body)


async def store_response(connection: AsyncConnection, request: KeyedRequest, response: StoredResponse) -> None:
    """Store the response. `stored_response` must have been called in the same transaction."""
    values = {
        "route": request.route,
        "body_hash": request.body_hash,
        "status": response.status,
        "headers": dict(response.headers),
        "body": response.body,
        "created_at": func.now(),
    }
    statement = insert(keys).values(values | {"org_id": request.org_id, "key": request.key})
    # A row under the locked key is older than 24 hours.
    await connection.execute(statement.on_conflict_do_update(index_elements=["org_id", "key"], set_=values))


_PLACE = (keys.c.org_id, keys.c.key)
_OLD = select(*_PLACE).where(keys.c.created_at <= _OLDEST).order_by(keys.c.created_at).limit(_DELETED_AT_ONCE)
_FORGET = delete(keys).where(tuple_(*_PLACE).in_(_OLD.with_for_update(skip_locked=True)))


async def forget_old_responses(connection: AsyncConnection) -> None:
    """Delete up to a thousand responses that are older than 24 hours."""
    await connection.execute(_FORGET)
