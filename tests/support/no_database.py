"""A database for requests that must not use one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from marketing_service.db import Transaction


class NoDatabase:
    """Every transaction and every call raises Unavailable at once; `uses` counts them."""

    def __init__(self) -> None:
        self.uses = 0

    def transaction(self, org_id: str | None = None) -> AbstractAsyncContextManager[Transaction]:
        self.uses += 1
        raise Unavailable("PostgreSQL")

    async def call(self, statement: str, *arguments: object) -> asyncpg.Record:
        self.uses += 1
        raise Unavailable("PostgreSQL")
