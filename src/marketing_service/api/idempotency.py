"""Idempotency-Key: a request that comes again, because its answer was lost, gets that answer and does nothing more."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from fastapi import Response

from marketing_service.errors import FieldError, InvalidInput
from marketing_service.store.idempotency import StoredResponse, store_response, stored_response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.store.idempotency import KeyedRequest

T = TypeVar("T")

HEADER = "Idempotency-Key"
MAX_KEY = 255
KEY_PATTERN = r"^[!-~]([ -~]{0,253}[!-~])?$"


class _AnsweredBefore(Exception):
    def __init__(self, answer: StoredResponse) -> None:
        self.answer = answer


class Once:
    """Has one request done once. Without a key, every request is another one."""

    def __init__(self, transactions: Transactions, request: KeyedRequest | None) -> None:
        self._transactions = transactions
        self._request = request

    async def only(
        self, act: Callable[[Transactions, OnResult[T]], Awaitable[object]], answer: Callable[[T], StoredResponse]
    ) -> Response:
        """What the request is answered with, now or the first time.

        `act` works in the transactions it is given, and in the one that changes something calls the other function
        it is given with what it made; `answer` makes the answer of that. What `act` raises is kept nowhere.
        """
        made: list[StoredResponse] = []

        async def on_result(tx: Transaction, result: T) -> None:
            made.append(answer(result))
            if self._request is not None:
                await store_response(tx.connection, self._request, made[-1])

        try:
            await act(self._asking_first, on_result)
        except _AnsweredBefore as before:
            return _response(before.answer)
        return _response(made[-1])

    @asynccontextmanager
    async def _asking_first(self, org_id: str | None = None) -> AsyncIterator[Transaction]:
        """Like `transactions`; every one of them asks, because an act may cross the network between two."""
        async with self._transactions(org_id) as tx:
            if self._request is not None:
                before = await stored_response(tx.connection, self._request)
                if before is not None:
                    raise _AnsweredBefore(before)
            yield tx


def read_key(headers: Sequence[str]) -> str | None:
    """The key, None without one. Raises InvalidInput."""
    if not headers:
        return None
    if len(headers) > 1 or not re.fullmatch(KEY_PATTERN, headers[0]):
        message = f"must be given once, and have 1 to {MAX_KEY} printable ASCII characters."
        raise InvalidInput(FieldError(HEADER, message, "idempotency-key"))
    return headers[0]


def _response(answer: StoredResponse) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), "application/json")
