"""Statements on a database by its URL, outside of the service's pools."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Sequence


async def execute_now(url: str, *statements: str) -> Sequence[tuple[Any, ...]]:
    """Run the statements. Returns the rows of the last one."""
    connection = await asyncpg.connect(url)
    try:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = [tuple(row) for row in await connection.fetch(statement)]
        return rows
    finally:
        await connection.close()


def execute(url: str, *statements: str) -> Sequence[tuple[Any, ...]]:
    """The same for a test without an event loop: Alembic starts one of its own."""
    return asyncio.run(execute_now(url, *statements))


def log_in(url: str, user: str, password: str = "secret") -> str:
    """The URL of the same database for another user."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()
