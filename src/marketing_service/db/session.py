"""Opening a session: its role and its time-outs, and the check that they hold.

Everything is set after the connection is open, not in the start-up packet: PgBouncer refuses parameters there that it
does not know (its option `ignore_startup_parameters`), and it would not pass them on to a server connection that is
open already.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import asyncpg

from marketing_service.db.connector import Connector

if TYPE_CHECKING:
    from marketing_service.db.address import DatabaseAddress

Role: TypeAlias = Literal["marketing_api", "marketing_worker"]

_MAX_IDLENESS = 10.0
"""Seconds that a transaction may be idle before PostgreSQL ends it. Transactions wait for nothing but PostgreSQL, so
the process of an idle one is frozen or disconnected, and the rows that it has locked would block all others."""
_POOLING_ROUNDS = 3
_WRONG = "MK001"
"""SQLSTATE of a session that is not what it must be; the class is of our own (PostgreSQL 18 documentation, §A)."""
_NO_ROLE = ("42501", "42704", "22023")
"""SQLSTATEs of SET ROLE: no member of the role, or there is no such role (22023 for the names of settings)."""

# By asking again, a setting that a pooler or a trigger has changed is found out. The value of `synchronous_commit`
# stays if it is stronger than `on`: then a standby confirms, too.
_PREPARE = """
{set_role}
{plans}
SET timezone = 'UTC';
SET idle_in_transaction_session_timeout = {idle};
SET statement_timeout = {statement};
DO $$
BEGIN
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        SET synchronous_commit = 'on';
    END IF;
    IF current_user <> coalesce({role}, current_user)
        OR current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
        OR (SELECT setting FROM pg_settings WHERE name = 'statement_timeout') <> '{statement}'
        OR (SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout') <> '{idle}'
    THEN
        RAISE EXCEPTION USING ERRCODE = '{wrong}', MESSAGE =
            format('its user is %s, its synchronous_commit %s', current_user, current_setting('synchronous_commit'));
    END IF;
END $$
"""
# The statements of the service select few rows of large tables, and an index finds them. Statistics that are missing,
# or that describe other campaigns, could make the planner read whole tables for that. The merge of an expansion does
# read much, and allows the other plans for itself.
_INDEX_PLANS = """
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
"""
_LEAVE_MARK = "SET marketing.session = '{mark}'"
_HAS_MARK = """
DO $$ BEGIN IF (current_setting('marketing.session', true) IS NOT DISTINCT FROM '{mark}') <> {expected} THEN
    RAISE EXCEPTION USING ERRCODE = '{wrong}';
END IF; END $$
"""


class WrongSession(Exception):
    """The sessions of this server, or of the pooler before it, cannot be used. Waiting does not help."""


class NoRole(WrongSession):
    """The database user cannot use the role. A migration that runs at this moment may change that."""


class SessionOpener:
    """Opens connections to one address, all with the same role and time-outs.

    `connect_timeout` and `statement_timeout` are in seconds. None as `statement_timeout` means no limit.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        role: Role | None,
        connect_timeout: float,
        statement_timeout: float | None,
    ) -> None:
        self._connector = Connector(
            address,
            timeout=connect_timeout,
            # A server that is stopped, not gone, sends nothing at all: the driver needs a limit of its own.
            command_timeout=None if statement_timeout is None else statement_timeout + 0.5,
            server_settings={"application_name": role or "marketing"},
        )
        self._prepare = _PREPARE.format(
            set_role="" if role is None else f"SET ROLE {role};",
            plans="" if role is None else _INDEX_PLANS,
            role="NULL" if role is None else f"'{role}'",
            idle=int(_MAX_IDLENESS * 1000),
            statement=int((statement_timeout or 0.0) * 1000),
            wrong=_WRONG,
        )
        self._is_pooling_checked = False

    async def open(self, *_: Any, **driver: Any) -> asyncpg.Connection:
        """Open and prepare one connection. The arguments are those that the pools add.

        Raises WrongSession if the server or a pooler does not keep what is set, NoRole, and the driver's errors.
        """
        connection = await self._connector.connect(**driver)
        try:
            if not self._is_pooling_checked:
                self._is_pooling_checked = await self._refuse_shared_sessions(connection)
            await self._run(connection, self._prepare)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _run(self, connection: asyncpg.Connection, statements: str) -> None:
        """Run statements with the simple protocol: PgBouncer may not support prepared statements."""
        try:
            await connection.execute(statements, timeout=self._connector.timeout)
        except asyncpg.PostgresError as error:
            if error.sqlstate == _WRONG:
                raise WrongSession(f"The settings of a new session do not hold: {error}.") from None
            if error.sqlstate in _NO_ROLE:
                raise NoRole(
                    f"The database user cannot use the role of this process ({error}). Run `marketing-service migrate`,"
                    " and make the user a member of the role."
                ) from None
            raise

    async def _refuse_shared_sessions(self, first: asyncpg.Connection) -> bool:
        """Raise WrongSession if two open connections share a session, as with a pooler in transaction mode. Then a role
        that one connection sets is the role of other clients, too. Returns whether this is certainly not so.

        The second connection is in a transaction, so it occupies a session. In transaction mode this is the session of
        the first one, or the first one gets another session for its next statement.
        """
        mark = secrets.token_hex(8)
        second: asyncpg.Connection | None = None
        try:
            second = await self._connector.connect()
            for _ in range(_POOLING_ROUNDS):
                await first.execute(_LEAVE_MARK.format(mark=mark), timeout=self._connector.timeout)
                await second.execute("BEGIN", timeout=self._connector.timeout)
                await second.execute(_HAS_MARK.format(mark=mark, expected="false", wrong=_WRONG))
                await first.execute(_HAS_MARK.format(mark=mark, expected="true", wrong=_WRONG))
                await second.execute("ROLLBACK")
        except asyncpg.PostgresError as error:
            # PgBouncer refuses a BEGIN in statement mode, and closes the connection.
            if error.sqlstate == _WRONG or "pooling mode" in str(error):
                raise WrongSession(
                    "A pooler before PostgreSQL gives one session to several connections. Use its session mode"
                    " (PgBouncer: pool_mode = session), or connect to PostgreSQL directly."
                ) from None
            return False  # for example, no second connection is allowed
        except (OSError, TimeoutError, asyncpg.InterfaceError):
            return False
        finally:
            if second is not None:
                second.terminate()
        return True
