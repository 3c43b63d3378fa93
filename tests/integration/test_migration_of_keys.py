"""The migration to one key per mailbox, on a database with the keys of the version before."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st

from marketing_service.addresses import mailbox_key
from tests.support.fixtures import migrate
from tests.support.project import ROOT
from tests.support.spellings import DOMAINS, spellings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from marketing_service.devstack.postgres import PostgresServer

(MIGRATION,) = (
    revision
    for revision in ScriptDirectory.from_config(Config(ROOT / "alembic.ini")).walk_revisions()
    if revision.path.endswith("_one_key_per_mailbox.py")
)
BUECHER = "info@xn--bcher-kva.example"
TABLES = ("marketing_sends", "marketing_opt_outs", "marketing_suppressions", "marketing_soft_bounces")


def old_key(email: str) -> str:
    """The key of the version before."""
    return email.strip().lower()


@pytest.fixture
def before(postgres: PostgresServer) -> str:
    """A database of the version before."""
    name = f"before_{uuid.uuid4().hex}"
    postgres.create_database(name)
    url = postgres.url(name)
    assert isinstance(MIGRATION.down_revision, str)
    migrate(url, MIGRATION.down_revision)
    return url


def run(url: str, use: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
    """Alembic starts an event loop of its own, so these tests have none."""

    async def connected() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await use(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


async def add_campaign(connection: asyncpg.Connection, emails: list[str]) -> uuid.UUID:
    campaign_id: uuid.UUID = await connection.fetchval(
        "INSERT INTO marketing_campaigns (org_id, name, from_email, subject, created_by, status, launched_at,"
        " expanded_at, sent_at, recipients, failed) VALUES ('acme', 'April', 'a@b.example', 'Hello', 'ada', 'SENT',"
        " now(), now(), now(), $1, $1) RETURNING id",
        len(emails),
    )
    await connection.executemany(
        "INSERT INTO marketing_sends (org_id, campaign_id, contact_id, email, address, status)"
        " VALUES ('acme', $1, $2, $3, $4, 'FAILED')",
        [(campaign_id, f"c{number}", email, old_key(email)) for number, email in enumerate(emails)],
    )
    return campaign_id


async def keys(connection: asyncpg.Connection, table: str) -> list[str]:
    return [row["address"] for row in await connection.fetch(f"SELECT address FROM {table} ORDER BY address")]


def test_every_send_gets_its_mailbox_key(before: str) -> None:
    emails = [
        "plain@example.com",
        "info@bücher.example",
        "INFO@BU\u0308CHER.example",
        "a@xn--bcher-kva.example",
        "ö@b.example",
    ]
    emails += ["info@example.com.", *(f"p{number}@bücher.example" for number in range(1200)), "x@\u03a3-1.example"]

    async def fill(connection: asyncpg.Connection) -> None:
        await add_campaign(connection, emails)
        await add_campaign(connection, emails[::-1])

    async def rows(connection: asyncpg.Connection) -> list[tuple[str, str]]:
        found = await connection.fetch("SELECT email, address FROM marketing_sends")
        return [(row["email"], row["address"]) for row in found]

    run(before, fill)
    migrate(before)
    assert sorted(run(before, rows)) == sorted((email, mailbox_key(email)) for email in emails * 2)


def test_opt_outs_of_one_mailbox_become_one_that_is_brought_to_the_crm_again(before: str) -> None:
    async def fill(connection: asyncpg.Connection) -> None:
        await connection.executemany(
            "INSERT INTO marketing_opt_outs (org_id, address, contact_ids, opted_out_at, confirmed_at, due_at)"
            " VALUES ($1, $2, $3, CAST($4 AS text)::timestamptz, CAST($5 AS text)::timestamptz,"
            " CAST($6 AS text)::timestamptz)",
            [
                ("acme", "info@bücher.example", ["u"], "2026-01-02Z", "2026-01-03Z", None),
                ("acme", "info@bu\u0308cher.example", ["n", "u"], "2026-01-04Z", None, "2026-01-05Z"),
                ("acme", BUECHER, ["a"], "2026-01-01Z", "2026-01-01Z", None),
                ("acme", "x@\uff42.example", ["f"], "2026-01-01Z", "2026-01-01Z", None),
                ("globex", "b@xn--bcher-kva.example", ["g"], "2026-01-01Z", "2026-01-01Z", None),
                ("globex", "plain@example.com", ["p"], "2026-01-01Z", "2026-01-01Z", None),
            ],
        )

    async def rows(connection: asyncpg.Connection) -> dict[tuple[str, str], tuple[set[str], str, bool]]:
        found = await connection.fetch(
            "SELECT *, due_at > now() + interval '50 minutes' AS later FROM marketing_opt_outs"
        )
        return {
            (row["org_id"], row["address"]): (set(row["contact_ids"]), f"{row['opted_out_at']:%d}", bool(row["later"]))
            for row in found
        }

    run(before, fill)
    migrate(before)
    assert run(before, rows) == {
        ("acme", BUECHER): ({"u", "n", "a"}, "04", True),
        ("acme", "x@b.example"): ({"f"}, "01", True),
        ("globex", "b@xn--bcher-kva.example"): ({"g"}, "01", True),
        ("globex", "plain@example.com"): ({"p"}, "01", False),
    }


def test_the_oldest_suppression_of_a_mailbox_stays_as_it_is(before: str) -> None:
    ids = [uuid.UUID(int=number) for number in range(6)]

    async def fill(connection: asyncpg.Connection) -> None:
        await connection.executemany(
            "INSERT INTO marketing_suppressions (id, org_id, address, reason, origin, note, created_at)"
            " VALUES ($1, $2, $3, 'MANUAL', 'API', $4, '2026-01-02Z')",
            [
                (ids[0], "acme", "info@bücher.example", "first"),
                (ids[1], "acme", BUECHER, "second"),
                (ids[2], "acme", "info@bu\u0308cher.example", "third"),
                (ids[3], "globex", BUECHER, "kept"),
                (ids[4], "globex", "info@bücher.example", "newer"),
                (ids[5], "globex", "only@bücher.example", "alone"),
            ],
        )

    async def rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
        found = await connection.fetch("SELECT * FROM marketing_suppressions ORDER BY id")
        assert {f"{row['created_at']:%d}" for row in found} == {"02"}
        return [(row["id"], row["org_id"], row["address"], row["note"]) for row in found]

    run(before, fill)
    migrate(before)
    assert run(before, rows) == [
        (ids[0], "acme", BUECHER, "first"),
        (ids[3], "globex", BUECHER, "kept"),
        (ids[5], "globex", "only@xn--bcher-kva.example", "alone"),
    ]


def test_soft_bounces_of_one_mailbox_keep_the_larger_number_and_the_later_send(before: str) -> None:
    sends = [uuid.UUID(int=number) for number in range(3)]

    async def fill(connection: asyncpg.Connection) -> None:
        await connection.executemany(
            "INSERT INTO marketing_soft_bounces (org_id, address, in_a_row, last_send_id, last_at)"
            " VALUES ('acme', $1, $2, $3, CAST($4 AS text)::timestamptz)",
            [
                ("info@bücher.example", 2, sends[0], "2026-01-01Z"),
                (BUECHER, 1, sends[1], "2026-01-03Z"),
                ("info@bu\u0308cher.example", 1, sends[2], "2026-01-02Z"),
            ],
        )

    async def rows(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
        found = await connection.fetch("SELECT * FROM marketing_soft_bounces")
        return [(row["address"], row["in_a_row"], row["last_send_id"], f"{row['last_at']:%d}") for row in found]

    run(before, fill)
    migrate(before)
    assert run(before, rows) == [(BUECHER, 2, sends[1], "03")]


def test_the_conversion_locks_no_table_and_goes_on_after_it_was_interrupted(before: str) -> None:
    """Another session writes to all tables, and later to the campaign."""

    async def fill(connection: asyncpg.Connection) -> None:
        for email in ("info@bücher.example", "info@bu\u0308cher.example"):
            await add_campaign(connection, [email])
        await connection.execute(
            "INSERT INTO marketing_suppressions (org_id, address, reason, origin) VALUES ($1, $2, 'MANUAL', 'API')",
            "acme",
            "info@bücher.example",
        )

    run(before, fill)

    async def writing(connection: asyncpg.Connection, *, also: str) -> None:
        async with connection.transaction():
            for table in TABLES:
                await connection.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
            await connection.execute(also)
            await asyncio.to_thread(migrate, before, MIGRATION.revision)

    # The campaign with the highest id is locked by a long merge: the migration gives up, with the others converted.
    locked = "SELECT FROM marketing_campaigns ORDER BY id DESC LIMIT 1 FOR UPDATE"
    with pytest.raises(Exception, match="lock timeout"):
        run(before, lambda connection: writing(connection, also=locked))
    assert run(before, lambda connection: keys(connection, "marketing_sends")) == ["info@bu\u0308cher.example", BUECHER]
    # At this moment both spellings are suppressed.
    assert run(before, lambda connection: keys(connection, "marketing_suppressions")) == [
        "info@bücher.example",
        BUECHER,
    ]

    run(before, lambda connection: writing(connection, also="SELECT 1"))
    assert run(before, lambda connection: keys(connection, "marketing_sends")) == [BUECHER, BUECHER]
    assert run(before, lambda connection: keys(connection, "marketing_suppressions")) == [BUECHER]


@given(st.sampled_from(DOMAINS).flatmap(lambda domain: spellings_of("info", domain)) | st.text())
def test_the_frozen_copy_computes_the_key_of_this_version(text: str) -> None:
    """Remove this test when the definition of the key changes: the migration stays as it is."""
    text = text.encode("utf-8", "replace").decode().replace("\x00", "")
    assert MIGRATION.module.mailbox_key(text) == mailbox_key(text)
