"""`migrate` as an operator meets it: each step, each fault in one line, and rights that a restored dump has lost."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from marketing_service.devstack.postgres import PostgresServer
from marketing_service.devstack.process import free_port
from marketing_service.operations.migrate import MigrationFailed, migrate
from marketing_service.store import access
from tests.support.project import ROOT
from tests.support.sql import execute, log_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INI = ROOT / "alembic.ini"


def run(url: str, revision: str = "head") -> list[str]:
    said: list[str] = []
    migrate(INI, revision, database_url=url, say=said.append)
    return said


def refusal(url: str, revision: str = "head") -> MigrationFailed:
    with pytest.raises(MigrationFailed) as raised:
        run(url, revision)
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.fixture
def owner(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database whose owner may not create roles."""
    name, user = f"owned_{uuid.uuid4().hex}", f"owner_{uuid.uuid4().hex}"
    postgres.create_database(name)
    url = postgres.url(name)
    execute(url, f"CREATE ROLE {user} LOGIN PASSWORD 'secret'", f"ALTER DATABASE {name} OWNER TO {user}")
    yield log_in(url, user)
    postgres.drop_database(name)
    execute(postgres.url("postgres"), f"DROP ROLE {user}")


def test_each_step_is_said_and_the_second_run_has_nothing_to_do(empty: str) -> None:
    said = run(empty)
    assert said[0].startswith("0001  Create the whole schema")
    assert len(said) > 5
    assert run(empty) == ["The schema is at the wanted revision already; nothing was to do."]


def test_the_rights_of_the_roles_are_those_of_the_list(postgres: PostgresServer, template: str) -> None:
    """A migration that grants more or less than the list fails here."""
    rows = execute(
        postgres.url(template),
        "SELECT table_name, grantee, privilege_type FROM information_schema.role_table_grants"
        " WHERE table_schema = 'public' AND grantee IN ('marketing_api', 'marketing_worker')",
    )
    declared = {
        (table, role, right)
        for table, rights in access.TABLES.items()
        for role, granted in ((access.API, rights.api), (access.WORKER, rights.worker))
        for right in granted.split(", ")
        if right
    }
    assert {(str(table), str(role), str(right)) for table, role, right in rows} == declared
    functions = execute(
        postgres.url(template),
        "SELECT proname, r FROM pg_proc, unnest(ARRAY['marketing_api', 'marketing_worker']) r"
        " WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(r, oid, 'EXECUTE')",
    )
    assert {(str(name), role) for name, role in functions} == {
        (name, role) for name, roles in access.FUNCTIONS.items() for role in roles
    }


RIGHTS = """
    SELECT format('%s %s %s', grantee, privilege_type, table_name)
    FROM information_schema.role_table_grants
    WHERE table_schema = 'public' AND grantee IN ('marketing_api', 'marketing_worker')
    UNION ALL
    SELECT format('%s %s %s %s', tablename, policyname, roles, qual) FROM pg_policies
    UNION ALL
    SELECT format('%s %s', proname, proacl) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('%s %s', relname, relrowsecurity) FROM pg_class WHERE relnamespace = 'public'::regnamespace
    ORDER BY 1
"""


def test_a_database_that_was_restored_without_the_roles_gets_its_rights_and_policies_again(empty: str) -> None:
    """The dump has GRANT and CREATE POLICY statements, which fail in a server without the roles."""
    run(empty)
    whole = execute(empty, RIGHTS)
    tables = [name for name, rights in access.TABLES.items() if rights.by_organisation]
    execute(
        empty,
        *(f"DROP POLICY own_organisation ON {table}" for table in tables),
        *(f"DROP POLICY every_organisation ON {table}" for table in tables),
        *(f"REVOKE ALL ON {table} FROM marketing_api, marketing_worker" for table in access.TABLES),
        *(f"REVOKE ALL ON FUNCTION {name} FROM marketing_api, marketing_worker" for name in access.FUNCTIONS),
    )  # fmt: skip
    execute(empty, "ALTER TABLE marketing_sends DISABLE ROW LEVEL SECURITY")
    execute(empty, "GRANT EXECUTE ON FUNCTION marketing_record_opens_v1 TO PUBLIC")
    assert execute(empty, RIGHTS) != whole
    said = run(empty)
    assert said[0].startswith("Restored ")
    assert execute(empty, RIGHTS) == whole


def documented_sql(heading: str) -> list[list[str]]:
    """The statements of each SQL block under a heading of docs/operating.md."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    return [[one.strip() for one in block.replace("…", "secret").split(";") if one.strip()] for block in blocks]


def test_the_documented_statements_need_no_superuser(tmp_path: Path) -> None:
    """The roles of a managed PostgreSQL: an administrator who is no superuser. On a server of its own, because the
    names of the roles are those of the documentation."""
    with PostgresServer(tmp_path / "postgres", durable=False) as server:
        server.drop_database("marketing")
        execute(server.url("postgres"), "CREATE ROLE admin LOGIN CREATEDB CREATEROLE PASSWORD 'secret'")
        as_admin, as_owner = documented_sql("Database roles")
        execute(log_in(server.url("postgres"), "admin"), *as_admin)
        url = log_in(server.url("marketing"), "marketing_owner")
        run(url)
        execute(url, *as_owner)
        for login in ("marketing_api_login", "marketing_worker_login"):
            assert run(log_in(url, login)) == ["The schema is at the wanted revision already; nothing was to do."]
        # A copy of the database on a server without the roles is the same as one whose roles were dropped.
        execute(
            server.url("marketing"),
            *(f"DROP OWNED BY {role}" for role in access.ROLES),
            *(f"DROP ROLE {role}" for role in access.ROLES),
        )
        assert run(url)[0].startswith("Restored ")


def test_without_the_roles_and_the_right_to_create_them_the_statements_are_named(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "postgres", durable=False) as server:
        execute(
            server.url("postgres"), "CREATE ROLE plain LOGIN PASSWORD 'secret'", "CREATE DATABASE plain OWNER plain"
        )
        error = refusal(log_in(server.url("plain"), "plain"))
        assert "CREATE ROLE marketing_api NOLOGIN; CREATE ROLE marketing_worker NOLOGIN;" in str(error)
        assert error.exit_code == os.EX_NOPERM


def test_an_owner_who_may_not_create_roles_migrates_where_they_exist(owner: str, template: str) -> None:
    """`template` has created the roles of this server."""
    assert run(owner)[0].startswith("0001  Create the whole schema")


@pytest.mark.parametrize("role", access.ROLES)
def test_with_nothing_to_do_the_log_in_of_a_process_is_enough(empty: str, role: str) -> None:
    run(empty)
    user = f"login_{uuid.uuid4().hex}"
    execute(empty, f"CREATE ROLE {user} LOGIN PASSWORD 'secret'", f"GRANT {role} TO {user}")
    try:
        assert run(log_in(empty, user)) == ["The schema is at the wanted revision already; nothing was to do."]
        execute(empty, "UPDATE marketing_schema_version SET version_num = '0001'")
        assert refusal(log_in(empty, user)).exit_code == os.EX_NOPERM
    finally:
        execute(empty, f"DROP ROLE {user}")


def test_a_wrong_password_is_one_line(empty: str) -> None:
    error = refusal(log_in(empty, "postgres", "wrong"))
    assert "refuses the log-in" in str(error)
    assert "password authentication failed" in str(error)
    assert error.exit_code == os.EX_UNAVAILABLE


def test_a_server_that_is_not_there_is_one_line() -> None:
    error = refusal(f"postgresql://postgres@127.0.0.1:{free_port()}/marketing")
    assert "does not answer" in str(error)


def test_a_missing_database_is_one_line(postgres: PostgresServer) -> None:
    assert "does not have the database" in str(refusal(postgres.url("nowhere")))


def test_an_unknown_revision_is_one_line_that_names_the_known_ones(empty: str) -> None:
    error = refusal(empty, "4711")
    assert "4711" in str(error)
    assert "head, " in str(error)
    assert error.exit_code == os.EX_USAGE


def test_a_database_of_another_version_is_one_line(empty: str) -> None:
    run(empty)
    execute(empty, "UPDATE marketing_schema_version SET version_num = '9999'")
    error = refusal(empty)
    assert "9999" in str(error)
    assert error.exit_code == os.EX_DATAERR


def test_a_table_in_use_is_one_line_that_says_to_run_it_again(empty: str) -> None:
    run(empty, "0003")

    async def locked() -> MigrationFailed:
        connection = await asyncpg.connect(empty)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE marketing_campaigns")
                return await asyncio.to_thread(refusal, empty)
        finally:
            await connection.close()

    error = asyncio.run(locked())
    assert "in use" in str(error)
    assert error.exit_code == os.EX_TEMPFAIL


def test_a_failed_migration_is_one_line_and_the_others_stay(empty: str) -> None:
    run(empty, "0004")
    execute(empty, "ALTER TABLE marketing_campaigns ADD COLUMN preheader int")
    error = refusal(empty)
    assert "nothing of it is kept" in str(error)
    assert "Applied before: 0005." in str(error)
    assert execute(empty, "SELECT version_num FROM marketing_schema_version") == [("0005",)]


def test_an_old_server_is_one_line(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no older server here, so a newer one is asked for."""
    monkeypatch.setattr("marketing_service.operations.migrate.MIN_SERVER", 99)
    error = refusal(empty)
    assert str(error) == "PostgreSQL 99 or newer is needed, and this server is 18."
    assert execute(empty, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_the_command_prints_the_steps_and_exits_with_the_code(empty: str) -> None:
    def command(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / ".venv" / "bin" / "marketing-service", "migrate"],
            env={"MARKETING_DATABASE_URL": url},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = command(empty)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("0001  Create the whole schema")
    failed = command(log_in(empty, "postgres", "wrong"))
    assert (failed.returncode, failed.stdout) == (os.EX_UNAVAILABLE, "")
    assert len(failed.stderr.splitlines()) == 1
