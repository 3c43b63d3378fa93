"""The database: metadata with named constraints, two pools of connections, transactions, and calls after a commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import asyncpg
import structlog
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from marketing_service.db.address import DatabaseAddress
from marketing_service.db.connector import FAILURES
from marketing_service.db.failures import DATABASE_ERRORS, READ_ONLY, PoolInUse, cause_of, unavailable
from marketing_service.db.session import NoRole, SessionOpener, WrongSession
from marketing_service.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from asyncpg.pool import PoolConnectionProxy

    from marketing_service.db.session import Role

log = structlog.get_logger(__name__)
T = TypeVar("T")

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
        self._connect_timeout = connect_timeout
        self._sessions = SessionOpener(
            DatabaseAddress.parse(url),
            role=role,
            connect_timeout=connect_timeout,
            statement_timeout=statement_timeout,
        )
        self._callers: asyncpg.Pool[asyncpg.Record] | None = None
        self._open_callers = partial(
            asyncpg.create_pool,
            min_size=0,
            max_size=pool_size,
            reset=_nothing_to_reset,
            connect=self._sessions.open,
        )
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._sessions.open,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=connect_timeout,
            pool_pre_ping=True,
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
        except (WrongSession, *DATABASE_ERRORS) as error:
            if outage := unavailable(error):
                raise outage from error
            raise
        await transaction._make_calls()  # noqa: SLF001 - the other half of Transaction

    async def call(self, statement: str, *arguments: object) -> asyncpg.Record:
        """See Call."""
        if self._callers is None:
            self._callers = self._open_callers()
            await self._callers  # opens no connection yet
        try:
            async with self._caller(self._callers) as connection:
                try:
                    row = await connection.fetchrow(statement, *arguments)
                except asyncpg.PostgresError:
                    raise
                except BaseException:
                    # Interrupted in the middle of the protocol: the connection must not be used again.
                    connection.terminate()
                    raise
        except (WrongSession, PoolInUse, *FAILURES) as error:
            if outage := unavailable(error):
                raise outage from error
            raise
        if row is None:
            raise LookupError("the statement returned no row")
        return row

    @asynccontextmanager
    async def _caller(self, pool: asyncpg.Pool[asyncpg.Record]) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """A connection for one call. Raises PoolInUse, and what opening a connection raises."""
        try:
            connection = await pool.acquire(timeout=self._connect_timeout)
        except TimeoutError:
            if pool.get_size() == pool.get_max_size() and not pool.get_idle_size():
                raise PoolInUse from None
            raise
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def verify(self) -> None:
        """Open a session and close it. Raises WrongSession if no session can be used as it is, whenever it is tried;
        does nothing if PostgreSQL is down or not migrated now."""
        try:
            connection = await self._sessions.open()
        except (NoRole, *FAILURES) as error:
            log.warning("database_not_verified", error=cause_of(error))
            return
        await connection.close()

    async def close(self) -> None:
        await self._engine.dispose()
        if self._callers is not None:
            await self._callers.close()


# Rows that do not fit into memory are written to the disk of the database. This needs no right and no table, and leaves
# nothing behind. A write of a row would tell less: it may find room in an old page.
_LITTLE_MEMORY = text("SELECT set_config('work_mem', '64kB', true), set_config('temp_tablespaces', '', true)")
_WRITE_TO_DISK = text("SELECT count(*) FROM generate_series(1, 20000)")


async def require_writes(connection: AsyncConnection) -> None:
    """Raises Unavailable if PostgreSQL is read-only, and an error of the driver if its disk is full, which the
    transaction makes Unavailable."""
    read_only = await connection.execute(text("SELECT current_setting('transaction_read_only')"))
    if read_only.scalar_one() == "on":
        raise Unavailable("PostgreSQL", READ_ONLY)
    await connection.execute(_LITTLE_MEMORY)
    await connection.execute(_WRITE_TO_DISK)


async def _nothing_to_reset(_: object) -> None:
    """Calls change nothing in their session, so a connection needs no reset, which would be a round trip."""
