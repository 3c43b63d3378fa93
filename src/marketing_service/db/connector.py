"""Opening a connection to one of the hosts of an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketing_service.db.address import DatabaseAddress, Host

FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises. `ssl.SSLError` is an OSError."""
_REPLIES = (asyncpg.PostgresError, asyncpg.TargetServerAttributeNotMatched)


class Connector:
    """Connects to the first host that takes the connection, as libpq chooses it.

    libpq gives each host the whole time-out; the driver would give it to all hosts together, so that a host that does
    not answer would use up the time of the others. The host of the last success is tried first.

    `timeout` is in seconds for each host, and is used if the URL has no `connect_timeout`; so for `command_timeout`,
    which is for each statement (None: no limit). `server_settings` are used if the URL does not have them.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        timeout: float,
        command_timeout: float | None = None,
        server_settings: Mapping[str, str],
    ) -> None:
        self.timeout = address.connect_timeout or timeout
        self._address = address
        self._command_timeout = command_timeout
        self._server_settings = {**server_settings, **address.server_settings}
        self._hosts: list[Host | None] = list(address.hosts) or [None]

    async def connect(self, **driver: Any) -> asyncpg.Connection:
        """`driver` are further arguments of asyncpg's `connect`. Raises the last host's error; one of a server that has
        replied is more informative, and has priority."""
        errors: list[Exception] = []
        for session in _attempts(self._address.session):
            for host in tuple(self._hosts):
                try:
                    connection = await self._connect_to(host, session, driver)
                except FAILURES as error:
                    errors.append(error)
                else:
                    self._hosts.sort(key=lambda other: other is not host)
                    return connection
        replies = [error for error in errors if isinstance(error, _REPLIES)]
        raise (replies or errors)[-1]

    async def _connect_to(
        self, host: Host | None, session: SessionAttribute, driver: Mapping[str, Any]
    ) -> asyncpg.Connection:
        where: dict[str, Any] = {} if host is None else {"host": host.name, "port": host.port}
        return await asyncpg.connect(
            self._address.dsn,
            timeout=self.timeout,
            command_timeout=self._command_timeout,
            server_settings=self._server_settings,
            target_session_attrs=session,
            **where,
            **driver,
        )


def _attempts(session: str) -> tuple[SessionAttribute, ...]:
    """What each host is asked to be. With `prefer-standby`, all hosts are asked a second time."""
    wanted = SessionAttribute(session)
    if wanted is SessionAttribute.prefer_standby:
        return SessionAttribute.standby, SessionAttribute.any
    return (wanted,)
