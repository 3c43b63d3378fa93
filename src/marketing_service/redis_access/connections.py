"""Connections that end when their server has become a replica, so that the next one leads to the new primary.

After a failover behind one name or address, an open connection still leads to the old primary. It reads there, and all
its writes are refused. The connections for Sentinel of redis-py end in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    _Base = AbstractConnection
else:
    _Base = object


class _ToPrimary(_Base):
    async def read_response(self, *options: Any, **named: Any) -> Any:
        try:
            return await super().read_response(*options, **named)
        except ReadOnlyError as error:
            await self.disconnect()
            raise RedisConnectionError("the server is a replica") from error


class PrimaryConnection(_ToPrimary, Connection):
    """Over TCP."""


class PrimaryTlsConnection(_ToPrimary, SSLConnection):
    """Over TLS."""
