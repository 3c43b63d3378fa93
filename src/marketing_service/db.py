"""The database: metadata with named constraints, transactions, and calls that run after a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar

import asyncpg
import structlog
from sqlalchemy import MetaData, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import URL

log = structlog.get_logger(__name__)
T = TypeVar("T")

Role = Literal["marketing_api", "marketing_worker"]

_MAX_IDLENESS = 10.0
"""Seconds that a transaction may be idle before PostgreSQL ends it. Transactions wait for nothing but PostgreSQL, so
the process of an idle one is frozen or disconnected, and the rows that it has locked would block all others."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Transaction:
    """One unit of work: a connection inside a transaction, and the calls to make after its commit."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self._calls: list[Callable[[], Awaitable[None]]] = []

    def after_commit(self, call: Callable[[], Awaitable[None]]) -> None:
        """Make `call` after the commit; after a rollback it is not made. Its error is logged and never raised: what it
        announces is committed already, and the sweep announces it again."""
        self._calls.append(call)

    async def _make_calls(self) -> None:
        for call in self._calls:
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - the transaction is committed; see after_commit
                log.warning("after_commit_failed", error=f"{type(error).__name__}: {error}")


OnResult: TypeAlias = Callable[[Transaction, T], Awaitable[None]]
"""A caller's part of the same unit of work; it gets the result of the other part."""


class Transactions(Protocol):
    """Opens one unit of work: `async with transactions(org_id) as tx`.

    With an organisation, row-level security shows the API's role only the rows of that organisation.
    Raises Unavailable if PostgreSQL does not respond.
    """

    def __call__(self, org_id: str | None = None) -> AbstractAsyncContextManager[Transaction]: ...


class Call(Protocol):
    """Runs one statement, with the driver's placeholders, as a transaction of its own: one round trip, committed on
    return. Returns the only row. Raises Unavailable if PostgreSQL does not respond.
    """

    async def __call__(self, statement: str, *arguments: object) -> asyncpg.Record: ...


class Database:
    """Connections with one PostgreSQL role: at most `pool_size` for transactions and as many for calls.

    Timeouts are in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        role: Role | None,
        pool_size: int = 10,
        connect_timeout: float = 3.0,
        statement_timeout: float | None = None,
    ) -> None:
        server_settings = {
            "application_name": role or "marketing",
            "timezone": "UTC",
            "idle_in_transaction_session_timeout": str(int(_MAX_IDLENESS * 1000)),
        }
        if role is not None:
            server_settings["role"] = role
        if statement_timeout is not None:
            server_settings["statement_timeout"] = str(int(statement_timeout * 1000))
        # A server that is stopped, not gone, sends nothing at all: the driver needs a limit of its own.
        command_timeout = None if statement_timeout is None else statement_timeout + 0.5
        self._connect_timeout = connect_timeout
        self._callers: asyncpg.Pool[asyncpg.Record] | None = None
        self._open_callers = partial(
            asyncpg.create_pool,
            make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
            min_size=0,
            max_size=pool_size,
            reset=_nothing_to_reset,
            timeout=connect_timeout,
            command_timeout=command_timeout,
            server_settings=server_settings,
        )
        self._engine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout,
            pool_pre_ping=True,
            connect_args={
                "timeout": connect_timeout,
                "server_settings": server_settings,
                "command_timeout": command_timeout,
            },
        )

    @asynccontextmanager
    async def transaction(self, org_id: str | None = None) -> AsyncIterator[Transaction]:
        """One unit of work: committed when the block ends, rolled back when it raises. See Transactions."""
        try:
            async with self._engine.begin() as connection:
                if org_id is not None:
                    await connection.execute(
                        text("SELECT set_config('marketing.org_id', :org_id, true)"), {"org_id": org_id}
                    )
                transaction = Transaction(connection)
                yield transaction
        except (SQLAlchemyError, *_FAILURES) as error:
            if _is_outage(error):
                raise Unavailable("PostgreSQL") from error
            raise
        await transaction._make_calls()  # noqa: SLF001 - the other half of Transaction

    async def call(self, statement: str, *arguments: object) -> asyncpg.Record:
        """See Call."""
        if self._callers is None:
            self._callers = self._open_callers()
            await self._callers  # opens no connection yet
        try:
            async with self._callers.acquire(timeout=self._connect_timeout) as connection:
                try:
                    row = await connection.fetchrow(statement, *arguments)
                except asyncpg.PostgresError:
                    raise
                except BaseException:
                    # Interrupted in the middle of the protocol: the connection must not be used again.
                    connection.terminate()
                    raise
        except _FAILURES as error:
            if _is_outage(error):
                raise Unavailable("PostgreSQL") from error
            raise
        if row is None:
            raise LookupError("the statement returned no row")
        return row

    async def close(self) -> None:
        await self._engine.dispose()
        if self._callers is not None:
            await self._callers.close()


async def ping(transactions: Transactions) -> None:
    """Run a statement. Raises Unavailable if PostgreSQL does not respond."""
    async with transactions() as tx:
        await tx.connection.execute(text("SELECT 1"))


async def _nothing_to_reset(_: object) -> None:
    """Calls change nothing in their session, so a connection needs no reset, which would be a round trip."""


def async_url(url: str) -> URL:
    """The URL for SQLAlchemy's asyncpg dialect, whose name for libpq's `sslmode` is `ssl`."""
    address = make_url(url).set(drivername="postgresql+asyncpg")
    query = {"ssl" if name == "sslmode" else name: value for name, value in address.query.items()}
    return address.set(query=query)


_FAILURES = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_OUTAGES = (
    # A server that dies between two messages of one statement.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A deadlock, or a lock that was not available: nothing was done, and another try is likely to succeed.
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


def _is_outage(error: BaseException) -> bool:
    """Whether the statement may succeed later: the server or a lock is the reason, not the statement."""
    if isinstance(error, (OSError, asyncio.TimeoutError, PoolTimeout, *_OUTAGES)):
        return True
    if isinstance(error, DBAPIError):
        cause = error.orig.__cause__ if error.orig is not None else None
        return error.connection_invalidated or (cause is not None and _is_outage(cause))
    return False
