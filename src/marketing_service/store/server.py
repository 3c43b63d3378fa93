"""What PostgreSQL says about itself, for `migrate` and `doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

_VERSION = text("SELECT current_setting('server_version_num')")
_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")


def server_version(connection: Connection) -> int:
    """The major version."""
    return int(connection.execute(_VERSION).scalar_one()) // 10_000


def clock(connection: Connection) -> float:
    """The server's clock, as a Unix time in seconds."""
    return float(connection.execute(_CLOCK).scalar_one())
