"""What PostgreSQL says about itself, and whether a process can use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.db import require_writes
from marketing_service.store.schema import require_schema

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from marketing_service.db import Transactions

_VERSION = text("SELECT current_setting('server_version_num')")
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")


async def require_usable(transactions: Transactions) -> None:
    """Raises Unavailable if PostgreSQL does not respond, takes no writes, or has an older schema than this version
    needs. It is one transaction, which writes only to a temporary file."""
    async with transactions() as tx:
        await require_writes(tx.connection)
        await require_schema(tx.connection)


def server_version(connection: Connection) -> int:
    """The major version."""
    return int(connection.execute(_VERSION).scalar_one()) // 10_000


def clock(connection: Connection) -> float:
    """The server's clock, as a Unix time in seconds."""
    return float(connection.execute(_CLOCK).scalar_one())
