"""The migrations on a real database: up, down and up again, what they create, and how they treat other sessions."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from marketing_service.db import Database, metadata
from marketing_service.errors import Unavailable
from marketing_service.ledger.functions import SQL
from marketing_service.store.schema import REVISION
from tests.support.fixtures import alembic_config, migrate
from tests.support.project import ROOT
from tests.support.sql import execute

if TYPE_CHECKING:
    from marketing_service.devstack.postgres import PostgresServer

TENANT_TABLES = {name for name, table in metadata.tables.items() if "org_id" in table.c}
ROLES = ("marketing_api", "marketing_worker")
NOTE_LOCK_TIMEOUT = (
    "CREATE TABLE noted (lock_timeout text)",
    (
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.noted VALUES (current_setting('lock_timeout')); END $$"
    ),
    "CREATE EVENT TRIGGER note_every_change ON ddl_command_end EXECUTE FUNCTION note()",
)
SCHEMA = """
    SELECT c.relkind::text || ' ' || c.relname AS thing FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'constraint ' || conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'policy ' || policyname || ' on ' || tablename FROM pg_policies
    UNION ALL
    SELECT format('grant %s %s on %s', grantee, privilege_type, table_name)
    FROM information_schema.role_table_grants WHERE table_schema = 'public' AND grantee LIKE 'marketing%'
    ORDER BY thing
"""

FUNCTIONS = """
    SELECT proname, CAST(CAST(oid AS regprocedure) AS text) AS signature, pg_get_functiondef(oid) AS definition,
           CAST(proacl AS text) AS rights
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY proname
"""


def fetch(url: str, sql: str) -> list[Any]:
    """The first column of every row."""
    return [row[0] for row in execute(url, sql)]


def test_up_down_and_up_again_leaves_the_same_schema(empty: str) -> None:
    bare = fetch(empty, SCHEMA)
    migrate(empty)
    whole = fetch(empty, SCHEMA)
    assert {f"r {name}" for name in metadata.tables} <= set(whole)
    migrate(empty, "base")
    # Only Alembic's own table is left, and it is empty.
    left = set(fetch(empty, SCHEMA)) - set(bare)
    assert all("marketing_schema_version" in thing for thing in left), left
    migrate(empty)
    assert fetch(empty, SCHEMA) == whole


def test_the_migrations_create_the_tables_of_the_code(postgres: PostgresServer, template: str) -> None:
    command.check(alembic_config(postgres.url(template)))


def test_every_change_has_a_lock_timeout(empty: str) -> None:
    """A migration that waits for a lock makes every request behind it wait, too."""
    execute(empty, *NOTE_LOCK_TIMEOUT)
    migrate(empty)
    migrate(empty, "base")
    noted = fetch(empty, "SELECT lock_timeout FROM noted")
    assert len(noted) > len(metadata.tables)
    assert set(noted) == {"5s"}


def test_files_are_dated_and_described_and_the_history_has_no_branches() -> None:
    script = ScriptDirectory.from_config(alembic_config(""))
    assert script.get_heads() == [REVISION]
    names = sorted(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))
    revisions = list(script.walk_revisions())
    assert len(names) == len(revisions)
    for name in names:
        assert re.fullmatch(r"20\d\d_[01]\d_[0-3]\d(_[a-z]+)+\.py", name), name
    for revision in revisions:
        assert not revision.is_branch_point
        assert re.fullmatch(r"\d{4}", revision.revision), "store/schema.py compares revisions as text"
        assert re.match(r"[A-Z][a-z]+ .+\.", revision.doc), revision.path


def test_every_constraint_has_a_name_of_the_naming_convention(postgres: PostgresServer, template: str) -> None:
    """A later migration could not drop a constraint whose name PostgreSQL has chosen."""
    names = fetch(
        postgres.url(template),
        "SELECT conname FROM pg_constraint WHERE contype <> 'n' AND conrelid::regclass::text LIKE 'marketing%'",
    )
    assert len(names) > len(metadata.tables)
    version_table = "marketing_schema_version_pkc"
    assert [name for name in names if not re.match(r"(pk|uq|ck|fk)_marketing_", name) and name != version_table] == []


def test_every_table_with_an_organisation_has_a_policy_for_each_role(postgres: PostgresServer, template: str) -> None:
    url = postgres.url(template)
    roles = f"SELECT rolname FROM pg_roles WHERE rolname IN {ROLES} AND NOT (rolcanlogin OR rolsuper OR rolbypassrls)"
    assert set(fetch(url, roles)) == set(ROLES)
    secured = set(fetch(url, "SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'"))
    readable = {
        name
        for name in metadata.tables
        if fetch(url, f"SELECT has_table_privilege('marketing_api', '{name}', 'SELECT')") == [True]
    }
    # The API's role cannot read a table without a policy.
    assert readable == secured
    assert TENANT_TABLES - secured == {"marketing_staged_contacts"}
    for role in ROLES:
        policies = f"SELECT tablename FROM pg_policies WHERE '{role}' = ANY (roles)"
        assert set(fetch(url, policies)) == secured


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO marketing_sends (org_id, campaign_id, contact_id, email, address, status)"
            " VALUES ('acme', uuidv7(), 'c1', 'a@b.example', 'a@b.example', 'QUEUED')"
        ),
        "COPY marketing_sends (org_id, campaign_id, contact_id) FROM STDIN",
        "DELETE FROM marketing_sends",
        "TRUNCATE marketing_sends",
        "INSERT INTO marketing_batches (org_id, campaign_id, number) VALUES ('acme', uuidv7(), 1)",
        "DELETE FROM marketing_opt_outs",
        "SELECT * FROM marketing_staged_contacts",
        "CREATE TABLE marketing_more ()",
        "ALTER TABLE marketing_sends DISABLE ROW LEVEL SECURITY",
    ],
)
async def test_the_apis_role_cannot(database_url: str, statement: str) -> None:
    database = Database(database_url, role="marketing_api", pool_size=1)
    with pytest.raises(Unavailable, match="does not give this service the rights"):
        async with database.transaction("acme") as tx:
            await tx.connection.execute(text(statement))
    await database.close()


def test_the_functions_are_those_of_the_files(postgres: PostgresServer, template: str) -> None:
    """Text, configuration and rights, and no function without a file."""

    async def functions() -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        connection = await asyncpg.connect(postgres.url(template))
        transaction = connection.transaction()
        await transaction.start()
        migrated = await connection.fetch(FUNCTIONS)
        for function in migrated:
            await connection.execute(f"DROP FUNCTION {function['signature']}")
        for file in SQL.glob("*.sql"):
            await connection.execute(file.read_text())
        created = await connection.fetch(FUNCTIONS)
        await transaction.rollback()
        await connection.close()
        return migrated, created

    migrated, created = asyncio.run(functions())
    assert [function["proname"] for function in created] == sorted(
        f"marketing_{file.stem}" for file in SQL.glob("*.sql")
    )
    assert [dict(function) for function in migrated] == [dict(function) for function in created]


def test_counts_of_soft_bounces_by_message_are_not_taken_for_days(empty: str) -> None:
    migrate(empty, "0004")
    execute(
        empty,
        "INSERT INTO marketing_soft_bounces (org_id, address, in_a_row, last_send_id)"
        " VALUES ('acme', 'ann@example.com', 2, uuidv7())",
    )
    migrate(empty)
    assert fetch(empty, "SELECT address FROM marketing_soft_bounces") == []


async def test_the_apis_role_sees_nothing_without_an_organisation(database_url: str) -> None:
    database = Database(database_url, role="marketing_api", pool_size=1)
    insert = text(
        "INSERT INTO marketing_campaigns (org_id, name, from_email, subject, created_by)"
        " VALUES ('acme', 'April', 'a@b.example', 'Hello', 'ada')"
    )
    count = text("SELECT count(*) FROM marketing_campaigns")
    async with database.transaction("acme") as tx:
        await tx.connection.execute(insert)
        assert (await tx.connection.execute(count)).scalar_one() == 1
    for org_id in (None, "", "globex"):
        async with database.transaction(org_id) as tx:
            assert (await tx.connection.execute(count)).scalar_one() == 0
    # Nor can it write a row for somebody else.
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.transaction("globex") as tx:
            await tx.connection.execute(insert)
    await database.close()
