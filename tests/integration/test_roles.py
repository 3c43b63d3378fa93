"""The database roles, in the layout of docs/operating.md: what an SQL session of the API's log-in can do."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from marketing_service.db import Database
from tests.support.fixtures import migrate
from tests.support.ledger import draft
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.devstack.postgres import PostgresServer

_SQL = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """A migrated database, and the addresses of its users."""

    superuser: str
    owner: str
    api: str
    worker: str
    owner_role: str


def address(url: str, *, user: str, database: str | None = None) -> str:
    parts = urlsplit(url)
    path = parts.path if database is None else f"/{database}"
    return urlunsplit(parts._replace(netloc=f"{user}:secret@{parts.hostname}:{parts.port}", path=path))


async def run(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def create(postgres: PostgresServer, before: Sequence[str] = ()) -> Layout:
    """Run the statements of docs/operating.md, with names of this test's own, and `marketing-service migrate` between
    them. `before` runs in the new database before that, as the superuser."""
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    section = page.split("## Database roles")[1].split("\n## ")[0]
    first, second = _SQL.findall(section)
    suffix = uuid.uuid4().hex[:8]

    def renamed(text: str) -> list[str]:
        text = re.sub(r"\bmarketing(_owner|_api_login|_worker_login)?\b(?!_)", rf"marketing\1_{suffix}", text)
        return [statement.strip() for statement in text.replace("…", "secret").split(";") if statement.strip()]

    await run(postgres.url("postgres"), *renamed(first))
    database = f"marketing_{suffix}"
    superuser = postgres.url(database)
    owner = address(superuser, user=f"marketing_owner_{suffix}")
    if before:
        await run(superuser, *(statement.replace("OWNER", f"marketing_owner_{suffix}") for statement in before))
    await asyncio.to_thread(migrate, owner)
    await run(postgres.url("postgres"), *renamed(second))
    return Layout(
        superuser,
        owner,
        address(superuser, user=f"marketing_api_login_{suffix}"),
        address(superuser, user=f"marketing_worker_login_{suffix}"),
        f"marketing_owner_{suffix}",
    )


@pytest.fixture(scope="module")
def layout(postgres: PostgresServer) -> Layout:
    return asyncio.run(create(postgres))


FORBIDDEN = (
    "CREATE TEMPORARY TABLE marketing_sends ()",
    "CREATE TEMPORARY VIEW marketing_sends AS SELECT 1 AS id",
    "CREATE TEMPORARY SEQUENCE numbers",
    "SELECT 1 AS id INTO TEMPORARY marketing_sends",
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OPERATOR pg_temp.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_eq)",
    "CREATE DOMAIN pg_temp.float8 AS int",
    "CREATE TABLE marketing_more ()",
    "CREATE VIEW more AS SELECT 1 AS id",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OPERATOR = (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_eq)",
    "CREATE CAST (uuid AS int) WITH INOUT AS IMPLICIT",
    "CREATE SCHEMA more",
    "CREATE TRIGGER t AFTER UPDATE ON marketing_sends EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON UPDATE TO marketing_sends DO ALSO NOTHING",
    "CREATE POLICY p ON marketing_sends USING (true)",
    "ALTER TABLE marketing_sends DISABLE ROW LEVEL SECURITY",
    "ALTER FUNCTION marketing_send_organisation_v1 RESET search_path",
    "CREATE OR REPLACE FUNCTION marketing_send_organisation_v1(send_id uuid) RETURNS text LANGUAGE sql AS 'SELECT 1'",
    "ALTER DEFAULT PRIVILEGES FOR ROLE marketing_worker GRANT ALL ON TABLES TO PUBLIC",
    "SELECT marketing_release_batch_v1(uuidv7(), 1, 1)",
    "SELECT * FROM marketing_staged_contacts",
    "UPDATE marketing_schema_version SET version_num = '0001'",
    "SET ROLE marketing_worker",
    "SET SESSION AUTHORIZATION marketing_worker",
    "GRANT marketing_worker TO CURRENT_USER",
    "ALTER ROLE marketing_api BYPASSRLS",
    "SET session_replication_role = replica",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_apis_log_in_may_not(layout: Layout, statement: str) -> None:
    connection = await asyncpg.connect(layout.api)
    try:
        for first in ("SET ROLE marketing_api", "RESET ROLE"):
            await connection.execute(first)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_apis_log_in_cannot_become_the_owner(layout: Layout) -> None:
    for role in (layout.owner_role, "marketing_worker", "pg_read_all_data"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run(layout.api, f"SET ROLE {role}")


TRAPS = (
    (
        "CREATE FUNCTION pg_temp.trap() RETURNS boolean LANGUAGE plpgsql AS $$"
        " BEGIN PERFORM set_config('trap.ran_as', current_user, false); RETURN true; END $$"
    ),
    (
        "CREATE FUNCTION pg_temp.same(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS $$"
        " BEGIN PERFORM pg_temp.trap(); RETURN true; END $$"
    ),
    (
        "CREATE FUNCTION pg_temp.row_trap() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN PERFORM pg_temp.trap(); RETURN new; END $$"
    ),
    "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now() WHERE pg_temp.trap()'",
    "CREATE OPERATOR pg_temp.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = pg_temp.same)",
    "CREATE DOMAIN pg_temp.float8 AS double precision CHECK (pg_temp.trap())",
    "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.trap())",
)


async def traps(connection: asyncpg.Connection, kind: str) -> None:
    """Hide every table behind a temporary object that calls `trap`."""
    for statement in TRAPS:
        await connection.execute(statement)
    tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relname LIKE 'marketing%' AND relkind = 'r'"
        " AND has_table_privilege(oid, 'SELECT')"
    )
    for (table,) in tables:
        if kind == "view":
            await connection.execute(
                f"CREATE FUNCTION pg_temp.{table}_rows() RETURNS SETOF public.{table} LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_temp.trap(); END $$"
            )
            await connection.execute(f"CREATE TEMPORARY VIEW {table} AS SELECT * FROM pg_temp.{table}_rows()")
        else:
            await connection.execute(f"CREATE TEMPORARY TABLE {table} (LIKE public.{table})")
            await connection.execute(
                f"CREATE TRIGGER t BEFORE INSERT OR UPDATE ON pg_temp.{table} EXECUTE FUNCTION pg_temp.row_trap()"
            )
        await connection.execute(f"GRANT ALL ON pg_temp.{table} TO PUBLIC")


DEFINERS = """
    SELECT p.oid::regprocedure::text AS signature, p.proname AS name, p.proconfig AS settings,
           ARRAY(SELECT format_type(t.type, NULL) FROM unnest(p.proargtypes) AS t (type)) AS types
    FROM pg_proc p WHERE p.prosecdef AND p.pronamespace <> 'pg_catalog'::regnamespace
      AND has_function_privilege('marketing_api', p.oid, 'EXECUTE')
    ORDER BY p.proname
"""
_CONTROL = """
    CREATE FUNCTION control(send_id uuid) RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$ {body} $$
"""
# A function as they were before, whose path does not name pg_temp. It shows that the traps work.
CONTROLS = {
    "view": _CONTROL.format(body="SELECT org_id FROM marketing_sends WHERE id = send_id"),
    "table": _CONTROL.format(body="UPDATE marketing_sends SET open_count = 0 WHERE id = send_id RETURNING org_id"),
}


@pytest.mark.parametrize("kind", ["view", "table"])
async def test_no_function_runs_the_callers_code_as_its_owner(postgres: PostgresServer, kind: str) -> None:
    """Even if the right to create temporary objects is given back."""
    layout = await create(postgres)
    database = layout.superuser.rpartition("/")[2]
    await run(layout.superuser, f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC")
    await run(layout.owner, CONTROLS[kind])
    owner = Database(layout.owner, role=None, pool_size=1)
    await draft(owner)
    await owner.close()
    connection = await asyncpg.connect(layout.api)
    try:
        await connection.execute("SET ROLE marketing_api")
        definers = await connection.fetch(DEFINERS)
        await traps(connection, kind)
        assert len(definers) > 3
        for definer in definers:
            await connection.execute("SELECT set_config('trap.ran_as', '', false)")
            values = {"uuid": "uuidv7()", "uuid[]": "ARRAY[uuidv7()]", "text[]": "ARRAY[NULL]::pg_catalog.text[]"}
            arguments = ", ".join(
                values.get(name, f"NULL::pg_catalog.{name}") for name in map(_named, definer["types"])
            )
            await connection.execute(f"SELECT * FROM public.{definer['name']}({arguments})")
            ran_as = await connection.fetchval("SELECT current_setting('trap.ran_as')")
            assert ran_as == (layout.owner_role if definer["name"] == "control" else ""), definer["signature"]
    finally:
        await connection.close()


def _named(name: str) -> str:
    return "float8" if name == "double precision" else name


async def paths(url: str) -> dict[str, list[str]]:
    """The search path of each function that runs as its owner."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(DEFINERS)
    finally:
        await connection.close()
    return {
        row["name"]: [part.removeprefix("search_path=") for part in row["settings"] if part.startswith("search_path=")]
        for row in found
    }


async def test_every_function_that_runs_as_its_owner_has_a_path_that_ends_with_pg_temp(layout: Layout) -> None:
    found = await paths(layout.superuser)
    assert len(found) >= 3
    assert all(path == ["public, pg_temp"] for path in found.values()), found


async def test_the_functions_belong_to_the_schema_of_the_installation(postgres: PostgresServer) -> None:
    """The schema is the first of the database's search path, here one whose name needs quotes."""
    layout = await create(
        postgres,
        before=(
            'CREATE SCHEMA "Mail List" AUTHORIZATION OWNER',
            'GRANT USAGE ON SCHEMA "Mail List" TO PUBLIC',
            (
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = \"Mail List\"', current_database());"
                " END $$"
            ),
        ),
    )
    found = await paths(layout.superuser)
    assert found
    assert all(path == ['"Mail List", pg_temp'] for path in found.values()), found
    database = Database(layout.api, role="marketing_api", pool_size=1)
    assert (await database.call("SELECT marketing_send_organisation_v1(uuidv7()) AS org_id"))["org_id"] is None
    await database.close()


async def test_migrate_names_the_rights_that_it_cannot_take(
    postgres: PostgresServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """The database and its schema belong to an administrator, so the owner of the tables cannot restrict them."""
    suffix = uuid.uuid4().hex[:8]
    role, database = f"marketing_owner_{suffix}", f"marketing_{suffix}"
    await run(
        postgres.url("postgres"),
        f"CREATE ROLE {role} LOGIN CREATEROLE PASSWORD 'secret'",
        f"CREATE DATABASE {database}",
    )
    superuser = postgres.url(database)
    await run(superuser, f"GRANT CREATE ON SCHEMA public TO PUBLIC, {role}")
    await asyncio.to_thread(migrate, address(superuser, user=role))
    lines = [line for line in capfd.readouterr().err.splitlines() if "REVOKE" in line]
    statements = [line.partition("run: ")[2] for line in lines]
    assert statements == [
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, marketing_api, marketing_worker;",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC, marketing_api, marketing_worker;",
    ]
    await run(superuser, *statements)
    await asyncio.to_thread(migrate, address(superuser, user=role))
    assert "REVOKE" not in capfd.readouterr().err


async def test_row_level_security_is_no_boundary_against_sql_run_as_the_api(layout: Layout) -> None:
    """docs/security.md says so: the session itself names the organisation whose rows it sees."""
    owner = Database(layout.owner, role=None, pool_size=1)
    await draft(owner, org_id="globex")
    await owner.close()
    connection = await asyncpg.connect(layout.api)
    try:
        await connection.execute("SET ROLE marketing_api")
        count = "SELECT count(*) FROM marketing_campaigns"
        assert await connection.fetchval(count) == 0
        await connection.execute("SELECT set_config('marketing.org_id', 'globex', false)")
        assert await connection.fetchval(count) == 1
    finally:
        await connection.close()
