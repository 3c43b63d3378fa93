"""Contacts from the CRM's PostgreSQL database, through the views and the function in `docs/audience-view.md`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from marketing_service.addresses import mailbox_key, search_forms
from marketing_service.audience.crm_json import validate_contact_id
from marketing_service.audience.limits import MAX_ID_LENGTH, MAX_STATUSES, MAX_WITH_EMAIL, validate_number_with_email
from marketing_service.audience.retry import RETRY_BACKOFF, ask_with_retries, ask_within
from marketing_service.db import Connector, DatabaseAddress
from marketing_service.ports import (
    AudienceRefused,
    AudienceType,
    AudienceUnavailable,
    Contact,
    ContactPage,
    ContactStatus,
    LeftOut,
)
from marketing_service.storable_text import is_storable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from asyncpg.pool import PoolConnectionProxy

    from marketing_service.addresses import MailboxKey
    from marketing_service.backoff import ExponentialBackoff
    from marketing_service.ports import Audience

_CONNECTIONS = 5

_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    # A hot standby cancels a query with this error when it must remove rows that the snapshot needs.
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.InternalServerError,
)

MAX_TEXT = 4096
"""Characters of a value that are read. A page of contacts then has a limit, whatever a view contains. A longer address
is malformed when it is cut, and stays malformed."""

# The casts allow a view to use citext, varchar or uuid. A NULL in marketing_opt_out counts as an opt-out, because the
# contact's choice is unknown.
_CONTACT = f"""
    SELECT left(CAST(id AS text), {MAX_ID_LENGTH + 1}) AS id, left(CAST(email AS text), {MAX_TEXT}) AS email,
           left(CAST(first_name AS text), {MAX_TEXT}) AS first_name,
           left(CAST(last_name AS text), {MAX_TEXT}) AS last_name,
           left(CAST(company_name AS text), {MAX_TEXT}) AS company_name,
           left(CAST(status AS text), {MAX_TEXT}) AS status, marketing_opt_out IS NOT FALSE AS marketing_opt_out
    FROM marketing_contacts WHERE org_id = $1
"""  # noqa: S608 - constants
_OF_STATUSES = "($2::text[] IS NULL OR CAST(status AS text) = ANY($2::text[]))"
_IN_AUDIENCE = f"CAST(email AS text) <> '' AND marketing_opt_out IS FALSE AND {_OF_STATUSES}"
_PAGES = f"{_CONTACT} AND {_IN_AUDIENCE} ORDER BY CAST(id AS text)"
_PAGES_AFTER = f"{_CONTACT} AND {_IN_AUDIENCE} AND CAST(id AS text) > $3 ORDER BY CAST(id AS text)"
_COUNT = f"SELECT count(*) FROM marketing_contacts WHERE org_id = $1 AND {_IN_AUDIENCE}"  # noqa: S608 - constants
_SAMPLE = f"{_PAGES} LIMIT $3"
_LEFT_OUT = f"""
    SELECT count(*) FILTER (WHERE marketing_opt_out IS NOT FALSE),
           count(*) FILTER (WHERE marketing_opt_out IS FALSE AND coalesce(CAST(email AS text), '') = '')
    FROM marketing_contacts WHERE org_id = $1 AND {_OF_STATUSES}
"""  # noqa: S608 - constants
_ONE = f"{_CONTACT} AND CAST(id AS text) = $2"
_WITH_EMAIL = (
    f"{_CONTACT} AND lower(btrim(CAST(email AS text))) = ANY(ARRAY(SELECT lower(unnest($2::text[]))))"
    " ORDER BY CAST(id AS text)"
    f" LIMIT {MAX_WITH_EMAIL + 1}"
)
_OPT_OUT = "SELECT marketing_opt_out($1, $2)"
_STATUSES = f"""
    SELECT left(CAST(value AS text), {MAX_TEXT}) AS value, left(CAST(label AS text), {MAX_TEXT}) AS label
    FROM marketing_contact_statuses WHERE org_id = $1 ORDER BY position LIMIT {MAX_STATUSES + 1}
"""  # noqa: S608 - constants


class ViewAudience:
    """AudienceSource over a database that the CRM shares with this service.

    An audience is read through one cursor in one read-only snapshot, so it does not change while it is read. If the
    cursor is lost, a new one continues after the last contact. For the durations see CrmAudience.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        page_size: int = 2000,
        timeout: float = 10.0,
        retry_seconds: float = 30.0,
        quick_timeout: float = 3.0,
        backoff: ExponentialBackoff = RETRY_BACKOFF,
    ) -> None:
        self._pool = pool
        self._page_size = page_size
        self._timeout = timeout
        self._retry_seconds = retry_seconds
        self._quick_timeout = quick_timeout
        self._backoff = backoff

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, timeout: float) -> AsyncIterator[ViewAudience]:  # noqa: ASYNC109 - for each page
        """The audience of the database at `url`. It connects on first use, and closes when the block ends."""
        connector = Connector(
            DatabaseAddress.parse(url),
            timeout=timeout,
            server_settings={"application_name": "marketing_audience", "timezone": "UTC"},
        )

        async def connect(*_: object, **driver: Any) -> asyncpg.Connection:
            # A pooler such as PgBouncer may give each transaction another connection.
            return await connector.connect(**driver, statement_cache_size=0)

        pool = asyncpg.create_pool(min_size=0, max_size=_CONNECTIONS, connect=connect)
        async with pool:
            try:
                yield cls(pool, timeout=timeout)
            finally:
                pool.terminate()

    async def pages(self, org_id: str, audience: Audience) -> AsyncGenerator[ContactPage]:
        """See AudienceSource."""
        if audience.is_empty:
            return
        snapshot: AsyncGenerator[ContactPage] | None = None
        after: str | None = None

        async def following() -> ContactPage | None:
            nonlocal snapshot
            if snapshot is None:
                snapshot = self._snapshot(org_id, audience, after)
            try:
                with self._mapped_errors():
                    async with asyncio.timeout(self._timeout):
                        return await anext(snapshot, None)
            except BaseException:
                snapshot = None
                raise

        try:
            while (
                page := await ask_with_retries(following, retry_seconds=self._retry_seconds, backoff=self._backoff)
            ) is not None:
                after = page.contacts[-1].id
                yield page
        finally:
            if snapshot is not None:
                await snapshot.aclose()

    async def count(self, org_id: str, audience: Audience) -> int:
        """See AudienceSource."""
        rows = await self._ask_within(_COUNT, org_id, _statuses(audience))
        return int(rows[0][0])

    async def sample(self, org_id: str, audience: Audience, limit: int) -> list[Contact]:
        """See AudienceSource. The contacts with the lowest ids."""
        return [_contact(row) for row in await self._ask_within(_SAMPLE, org_id, _statuses(audience), limit)]

    async def left_out(self, org_id: str, audience: Audience) -> LeftOut:
        """See AudienceSource."""
        return LeftOut(*(await self._ask_within(_LEFT_OUT, org_id, _statuses(audience)))[0])

    async def contact(self, org_id: str, contact_id: str) -> Contact | None:
        """See AudienceSource."""
        if not is_storable(contact_id):
            return None
        rows = await self._ask_within(_ONE, org_id, contact_id)
        return _contact(rows[0]) if rows else None

    async def contacts_with_email(self, org_id: str, mailbox: MailboxKey) -> list[Contact]:
        """See AudienceSource."""
        rows = await self._ask_within(_WITH_EMAIL, org_id, search_forms(mailbox))
        validate_number_with_email(rows)
        return [contact for contact in map(_contact, rows) if mailbox_key(contact.email or "") == mailbox]

    async def opt_out(self, org_id: str, contact_id: str) -> bool:
        """See AudienceSource."""
        if not is_storable(contact_id):
            return False
        rows = await self._ask_within(_OPT_OUT, org_id, contact_id)
        return bool(rows[0][0])

    async def statuses(self, org_id: str) -> list[ContactStatus]:
        """See AudienceSource."""
        rows = await self._ask_within(_STATUSES, org_id)
        if len(rows) > MAX_STATUSES:
            raise AudienceRefused(f"The CRM has more than {MAX_STATUSES} contact statuses.")
        return [ContactStatus(row["value"], row["label"] or row["value"]) for row in rows]

    async def probe(self) -> None:
        """See AudienceSource."""
        await self._ask_within("SELECT 1")

    async def _snapshot(self, org_id: str, audience: Audience, after: str | None) -> AsyncGenerator[ContactPage]:
        """The audience as it is now, starting after the contact with the id `after`."""
        values = [org_id, _statuses(audience), *([] if after is None else [after])]
        async with self._connection() as connection:
            # The first statement in the transaction takes the snapshot, not the BEGIN.
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            await self._limit_statements(connection, self._timeout)
            asked_at = datetime.now(UTC)
            cursor = await connection.cursor(_PAGES if after is None else _PAGES_AFTER, *values)
            while rows := await cursor.fetch(self._page_size):
                yield ContactPage([_contact(row) for row in rows], asked_at)
            await transaction.rollback()

    async def _ask_within(self, query: str, *values: object) -> list[asyncpg.Record]:
        return await ask_within(
            partial(self._fetch, query, *values), seconds=self._quick_timeout, backoff=self._backoff
        )

    async def _fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        with self._mapped_errors():
            async with self._connection() as connection, connection.transaction():
                await self._limit_statements(connection, self._quick_timeout)
                return await connection.fetch(query, *values)

    @staticmethod
    async def _limit_statements(connection: PoolConnectionProxy, seconds: float) -> None:
        """Let the CRM's database end each statement of this transaction half a second after this side has given up, so
        that the query does not go on there. It is set here, because a pooler such as PgBouncer refuses this setting
        when a connection opens."""
        await connection.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000) + 500}")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[PoolConnectionProxy]:
        connection = await self._pool.acquire(timeout=self._timeout)
        try:
            yield connection
        except BaseException:
            # A server that hangs does not answer a ROLLBACK either.
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection)

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise AudienceUnavailable(f"The CRM's database did not answer within {self._timeout:g} seconds.") from None
        except (*_OUTAGES, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            raise AudienceUnavailable(f"The CRM's database does not answer ({type(error).__name__}).") from error
        except asyncpg.PostgresError as error:
            raise AudienceRefused(f"The CRM's database refused: {error}.") from error


def _statuses(audience: Audience) -> tuple[str, ...] | None:
    return audience.statuses if audience.type is AudienceType.BY_STATUS else None


def _contact(row: asyncpg.Record) -> Contact:
    contact = Contact(*row)
    validate_contact_id(contact.id or "")
    return contact
