"""One migrated database that the tests of a process use one after the other.

A new clone of the template costs 0.1 s of processor time, and the first statements on each new connection cost as much
again. So the rows are deleted after a test, and the connections stay open.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg

from marketing_service.db import Database

if TYPE_CHECKING:
    from marketing_service.devstack.postgres import PostgresServer

_MAX_USES = 100
"""Deleted rows stay in the indexes for some time, and make reads slower. A new clone has none."""
_MAX_OCTETS = 2**20

# What a test may leave behind besides rows: a new, changed or dropped object, right or setting; statistics; an open
# transaction. The versions of the catalogs' rows show each change.
_PUBLIC = "relnamespace = 'public'::regnamespace"
_CATALOGS = " UNION ALL ".join(
    f"SELECT '{catalog}' || {key} || ':' || xmin AS version FROM {catalog} WHERE {condition}"
    for catalog, key, condition in (
        ("pg_class", "oid", _PUBLIC),
        ("pg_attribute", "attrelid", f"attrelid IN (SELECT oid FROM pg_class WHERE {_PUBLIC})"),
        ("pg_attrdef", "oid", "true"),
        ("pg_constraint", "oid", "conrelid <> 0"),
        ("pg_trigger", "oid", "NOT tgisinternal"),
        ("pg_policy", "oid", "true"),
        ("pg_proc", "oid", "oid >= 16384"),
        ("pg_namespace", "oid", "nspname !~ '^pg_'"),
        ("pg_event_trigger", "oid", "true"),
        ("pg_default_acl", "oid", "true"),
        ("pg_statistic", "starelid", "starelid >= 16384"),
        ("pg_db_role_setting", "setdatabase", "true"),
        ("pg_database", "oid", "datname = current_database()"),
    )
)  # fmt: skip
_STATE = f"""
SELECT (SELECT sum(hashtextextended(version, 0)) FROM ({_CATALOGS})) AS catalog,
    (SELECT string_agg(version_num, ' ') FROM marketing_schema_version) AS revision,
    (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle') AS in_use
"""
# The mode switches off the triggers, also those of foreign keys.
_DELETE_ROWS = f"""
DO $$
DECLARE name regclass;
BEGIN
    SET LOCAL session_replication_role = replica;
    SET LOCAL lock_timeout = '5s';
    FOR name IN
        SELECT oid FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'marketing_schema_version'
            AND pg_relation_size(oid) > 0
    LOOP
        IF pg_relation_size(name) > {_MAX_OCTETS} THEN
            RAISE EXCEPTION 'the table % is too large to be emptied row by row', name;
        END IF;
        EXECUTE format('DELETE FROM %s', name);
    END LOOP;
END $$
"""


class SharedDatabase:
    """A clone of the template. `renew` empties it, or replaces it if a test has changed more than rows."""

    url: str
    owner: Database
    """Its superuser, so that row-level security hides nothing."""

    def __init__(self, server: PostgresServer, template: str) -> None:
        self._server = server
        self._template = template
        self._cleaner: asyncpg.Connection[asyncpg.Record] | None = None
        self._state: asyncpg.Record | None = None
        self._uses = 0

    async def renew(self) -> None:
        """Afterwards `url` is the URL of an empty, migrated database."""
        self._uses += 1
        if self._cleaner is None or self._uses > _MAX_USES or not await self._emptied(self._cleaner):
            await self.close()
            await self._clone()

    async def close(self) -> None:
        if self._cleaner is not None:
            self._cleaner.terminate()
            self._cleaner = None
            await self.owner.close()

    async def _emptied(self, cleaner: asyncpg.Connection[asyncpg.Record]) -> bool:
        """Whether only rows were left, which are deleted now."""
        try:
            state = await cleaner.fetchrow(_STATE)
            if state != self._state:
                return False
            await cleaner.execute(_DELETE_ROWS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return True

    async def _clone(self) -> None:
        name = f"test_{uuid.uuid4().hex}"
        self._server.create_database(name, template=self._template)
        self.url = self._server.url(name)
        # A test may start a hundred transactions at once. On a busy machine the last of them waits for one of the three
        # connections longer than the service allows, so the time limit is a minute here.
        self.owner = Database(self.url, role=None, pool_size=3, connect_timeout=60)
        self._cleaner = await asyncpg.connect(self.url)
        self._state, self._uses = await self._cleaner.fetchrow(_STATE), 1
