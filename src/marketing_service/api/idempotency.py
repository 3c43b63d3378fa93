"""Idempotency-Key: a repeated request gets the stored response of the first one, and changes nothing.

A route with the dependency `Idempotent` does its work in `idempotent.transactions`, and stores its response in the
transaction that makes the change:

    async with idempotent.transactions(org_id) as tx:
        campaign = await drafts.duplicate(tx, ...)
        response = created(campaign)
        await idempotent.store(tx, response)
    return response
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fastapi import Response

from marketing_service.errors import FieldError, InvalidInput
from marketing_service.store.idempotency import StoredResponse, store_response, stored_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.store.idempotency import KeyedRequest

T = TypeVar("T")

HEADER = "Idempotency-Key"
MAX_KEY = 255
KEY_PATTERN = r"^[!-~]([ -~]{0,253}[!-~])?$"

_JSON = "application/json"
# The framework sets these again when the stored response is sent.
_NOT_STORED = frozenset({"content-length", "content-type"})


class AlreadyAnswered(Exception):
    """A request with this key has a response. `response` is that response; an exception handler sends it."""

    def __init__(self, stored: StoredResponse) -> None:
        super().__init__("this request already has a response")
        self.response = Response(stored.body, stored.status, dict(stored.headers), _JSON)


class IdempotentRequest:
    """One request, and its Idempotency-Key if it has one. Without a key, nothing is looked up or stored."""

    def __init__(self, transactions: Transactions, request: KeyedRequest | None) -> None:
        self._transactions = transactions
        self._request = request

    @asynccontextmanager
    async def transactions(self, org_id: str | None = None) -> AsyncIterator[Transaction]:
        """See db.Transactions. Locks the key until the transaction ends. Every transaction looks the key up, because a
        use case may call the CRM between two of them.

        Raises AlreadyAnswered, RequestInFlight, KeyReused, or Unavailable.
        """
        async with self._transactions(org_id) as tx:
            if self._request is not None:
                stored = await stored_response(tx.connection, self._request)
                if stored is not None:
                    raise AlreadyAnswered(stored)
            yield tx

    async def store(self, tx: Transaction, response: Response) -> None:
        """Store the response (JSON) with the key, in the transaction that makes the change."""
        if self._request is None:
            return
        headers = {name: value for name, value in response.headers.items() if name not in _NOT_STORED}
        stored = StoredResponse(response.status_code, headers, bytes(response.body))
        await store_response(tx.connection, self._request, stored)

    def store_as(self, build: Callable[[T], Response]) -> OnResult[T]:
        """An `on_result` for a use case with its own transactions: stores `build(result)`."""

        async def on_result(tx: Transaction, result: T) -> None:
            await self.store(tx, build(result))

        return on_result


def read_key(headers: Sequence[str]) -> str | None:
    """The key; None if the request has none. Raises InvalidInput."""
    if not headers:
        return None
    if len(headers) > 1 or not re.fullmatch(KEY_PATTERN, headers[0]):
        message = f"must be given once, as 1 to {MAX_KEY} printable ASCII characters, without a space at either end."
        raise InvalidInput(FieldError(HEADER, message, "idempotency-key"))
    return headers[0]
