"""Idempotency keys: the answer is kept by the transaction that did what was asked, so both stand or neither does."""

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

_KEPT = text("now() - interval '24 hours'")
_FORGOTTEN_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request that may come again. `route` is its method and path, `body_hash` the SHA-256 of its body."""

    org_id: str
    key: str
    route: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """An HTTP answer, as far as repeating it needs."""

    status: int
    headers: Mapping[str, str]
    body: bytes


# Two 32-bit hashes would meet by accident too soon; 64 bits of one do not.
_HOLD = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, hashtextextended(:org_id, 0)))")


async def stored_response(connection: AsyncConnection, request: KeyedRequest) -> StoredResponse | None:
    """Hold the key until the transaction ends; returns what the request was answered with in the last 24 hours.

    Raises RequestInFlight where another transaction holds the key, KeyReused where it is another request's.
    """
    # Two statements, because one would look for the row as it was before it had the lock.
    if not (await connection.execute(_HOLD, {"org_id": request.org_id, "key": request.key})).scalar_one():
        raise RequestInFlight("A request with this Idempotency-Key is being worked on; repeat it in a moment.")
    statement = select(keys.c.route, keys.c.body_hash, keys.c.status, keys.c.headers, keys.c.body).where(
        keys.c.org_id == request.org_id, keys.c.key == request.key, keys.c.created_at > _KEPT
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    if (row.route, row.body_hash) != (request.route, request.body_hash):
        raise KeyReused("This Idempotency-Key was used for another request; choose a new one for each.")
    return StoredResponse(row.status, row.headers, row.body)


async def store_response(connection: AsyncConnection, request: KeyedRequest, answer: StoredResponse) -> None:
    """Keep the answer with what the transaction did; `stored_response` must have been asked in it."""
    values = {
        "route": request.route,
        "body_hash": request.body_hash,
        "status": answer.status,
        "headers": dict(answer.headers),
        "body": answer.body,
        "created_at": func.now(),
    }
    statement = insert(keys).values(values | {"org_id": request.org_id, "key": request.key})
    # What is there, under the key we hold, is too old to count.
    await connection.execute(statement.on_conflict_do_update(index_elements=["org_id", "key"], set_=values))


async def forget_old_responses(connection: AsyncConnection) -> None:
    """Remove up to a thousand answers older than 24 hours."""
    place = (keys.c.org_id, keys.c.key)
    old = select(*place).where(keys.c.created_at <= _KEPT).order_by(keys.c.created_at).limit(_FORGOTTEN_AT_ONCE)
    await connection.execute(delete(keys).where(tuple_(*place).in_(old.with_for_update(skip_locked=True))))
