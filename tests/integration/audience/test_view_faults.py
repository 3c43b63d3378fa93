"""Changes and faults of the CRM's database while it is read."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import pytest

from marketing_service.addresses import mailbox_key
from marketing_service.audience import ViewAudience
from marketing_service.backoff import ExponentialBackoff
from marketing_service.ports import Audience, AudienceRefused, AudienceType, AudienceUnavailable, ContactStatus
from tests.integration.audience.test_sources import contact, everyone
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from marketing_service.ports import Contact
    from tests.integration.audience.crm_database import CrmDatabase

EVERYBODY = Audience()
CONTACTS = [contact(number) for number in range(25)]
BACKOFF = ExponentialBackoff(first=0.03, maximum=8.0, jitter=0.5)
_HANG_UP = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE usename = 'marketing_reader' AND datname = current_database()
"""


@pytest.fixture
async def pool(crm_database: CrmDatabase) -> AsyncIterator[asyncpg.Pool]:
    async with crm_database.pool() as pool:
        yield pool


@pytest.fixture
async def source(crm_database: CrmDatabase, pool: asyncpg.Pool) -> ViewAudience:
    """A source with three pages of at most ten contacts."""
    await crm_database.fill({"org": CONTACTS})
    return ViewAudience(pool, page_size=10, timeout=0.5, retry_seconds=2.0, quick_timeout=0.8, backoff=BACKOFF)


@asynccontextmanager
async def locked(crm_database: CrmDatabase) -> AsyncIterator[None]:
    """No other connection can read the contacts while the block runs."""
    connection = await asyncpg.connect(crm_database.owner_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_a_lost_connection_neither_loses_nor_repeats_contacts(
    source: ViewAudience, crm_database: CrmDatabase
) -> None:
    found: list[Contact] = []
    async for page in source.pages("org", EVERYBODY):
        found += page.contacts
        await crm_database.run(_HANG_UP)
    assert found == CONTACTS


async def test_changes_during_the_read_are_not_seen(source: ViewAudience, crm_database: CrmDatabase) -> None:
    found: list[Contact] = []
    async for page in source.pages("org", EVERYBODY):
        found += page.contacts
        await crm_database.run(
            "UPDATE people SET no_marketing = true",
            "DELETE FROM people WHERE id = 'c-000024'",
            "INSERT INTO people (tenant, id, email) VALUES ('org', 'd-' || gen_random_uuid(), 'new@example.org')",
        )
    assert found == CONTACTS


async def test_a_table_that_is_locked_for_a_while_is_read_afterwards(
    source: ViewAudience, crm_database: CrmDatabase, pool: asyncpg.Pool
) -> None:
    async with locked(crm_database):
        with pytest.raises(AudienceUnavailable, match=r"within 0\.5 seconds"):
            await everyone(ViewAudience(pool, timeout=0.5, retry_seconds=0.1))
        with pytest.raises(AudienceUnavailable, match=r"within 0\.8 seconds"):
            await source.count("org", EVERYBODY)
    assert await everyone(source) == CONTACTS


async def test_a_database_that_is_gone_is_unavailable() -> None:
    url = "postgresql://reader:pw@127.0.0.1:9/crm"
    async with ViewAudience.open(url, timeout=0.5) as source:
        with pytest.raises(AudienceUnavailable, match="does not answer"):
            await source.probe()
    async with asyncpg.create_pool(url, min_size=0) as pool:
        with pytest.raises(AudienceUnavailable, match="does not answer"):
            await everyone(ViewAudience(pool, retry_seconds=0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DROP VIEW marketing_contacts", "marketing_contacts"),
        ("ALTER VIEW marketing_contacts RENAME company_name TO company", "company_name"),
        ("REVOKE SELECT ON marketing_contacts FROM marketing_reader", "permission denied"),
        ("ALTER ROLE marketing_reader PASSWORD 'another'", "password"),
        ("UPDATE people SET id = repeat('x', 65) WHERE id = 'c-000007'", "whose id"),
        ("UPDATE people SET id = '' WHERE id = 'c-000007'", "whose id"),
    ],
    ids=["no view", "no column", "no right", "wrong password", "id too long", "empty id"],
)
async def test_a_permanent_error_is_refused_with_its_reason(
    source: ViewAudience, crm_database: CrmDatabase, change: str, words: str
) -> None:
    await crm_database.run(change)
    with pytest.raises(AudienceRefused, match=words):
        await everyone(source)


async def test_the_reader_can_only_read_and_opt_out(source: ViewAudience, crm_database: CrmDatabase) -> None:
    assert await source.opt_out("org", "c-000003")
    connection = await asyncpg.connect(crm_database.url)
    try:
        for statement in ("UPDATE marketing_contacts SET email = ''", "TABLE people", "DELETE FROM people"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_null_opt_out_counts_as_an_opt_out(source: ViewAudience, crm_database: CrmDatabase) -> None:
    await crm_database.run(
        "ALTER TABLE people ALTER no_marketing DROP NOT NULL",
        "UPDATE people SET no_marketing = NULL WHERE id = 'c-000003'",
    )
    assert len(await everyone(source)) == await source.count("org", EVERYBODY) == 24
    assert (await source.left_out("org", EVERYBODY)).opted_out == 1
    unknown = await source.contact("org", "c-000003")
    assert unknown is not None
    assert unknown.marketing_opt_out


async def test_an_abandoned_read_releases_its_connection(source: ViewAudience, crm_database: CrmDatabase) -> None:
    for _ in range(5):
        async with aclosing(source.pages("org", Audience(AudienceType.BY_STATUS, ("CUSTOMER",)))) as pages:
            assert len((await anext(pages)).contacts) == 10
    assert await everyone(source) == CONTACTS


async def test_a_query_that_was_given_up_ends_in_the_database_too(
    source: ViewAudience, crm_database: CrmDatabase
) -> None:
    connection = await asyncpg.connect(crm_database.owner_url)
    waiting = """
        SELECT count(*) FROM pg_stat_activity
        WHERE usename = 'marketing_reader' AND datname = current_database() AND state = 'active'
    """

    async def nothing_waits() -> bool:
        return bool(await connection.fetchval(waiting) == 0)

    try:
        async with locked(crm_database):
            with pytest.raises(AudienceUnavailable):
                await source.count("org", EVERYBODY)
            with pytest.raises(AudienceUnavailable):
                await everyone(source)
            await until(nothing_waits, seconds=20)
    finally:
        await connection.close()


async def test_long_values_of_a_view_are_cut(source: ViewAudience, crm_database: CrmDatabase) -> None:
    await crm_database.run(
        "DROP INDEX people_by_email",
        "UPDATE people SET given_name = repeat('x', 1000000), email = repeat('y', 1000000) || '@example.org'"
        " WHERE id = 'c-000007'",
    )
    found = next(one for one in await everyone(source) if one.id == "c-000007")
    assert (found.first_name, found.email) == ("x" * 4096, "y" * 4096)
    assert await source.contact("org", "c-000007") == found


async def test_an_address_with_a_thousand_contacts_is_the_most(source: ViewAudience, crm_database: CrmDatabase) -> None:
    await crm_database.run("DELETE FROM people")
    await crm_database.fill({"org": [contact(number, email="info@example.org") for number in range(1000)]})
    assert len(await source.contacts_with_email("org", mailbox_key("info@example.org"))) == 1000
    await crm_database.fill({"org": [contact(1000, email="info@example.org")]})
    with pytest.raises(AudienceUnavailable, match="more than 1000 contacts"):
        await source.contacts_with_email("org", mailbox_key("info@example.org"))


async def test_more_than_a_thousand_statuses_are_not_used(source: ViewAudience, crm_database: CrmDatabase) -> None:
    statuses = [ContactStatus(f"S{number}", "A status") for number in range(1001)]
    await crm_database.fill({"many": []}, statuses)
    with pytest.raises(AudienceRefused, match="more than 1000 contact statuses"):
        await source.statuses("many")


async def test_the_function_of_the_documentation_does_not_look_into_pg_temp_first(
    source: ViewAudience, crm_database: CrmDatabase
) -> None:
    """Otherwise its owner would run what the reader hides behind the name of the table."""
    connection = await asyncpg.connect(crm_database.url)
    try:
        await connection.execute("CREATE TEMPORARY TABLE people (tenant text, id text, no_marketing boolean)")
        await connection.execute("GRANT ALL ON pg_temp.people TO PUBLIC")
        assert await connection.fetchval("SELECT marketing_opt_out('org', 'c-000003')")
    finally:
        await connection.close()
    found = await source.contact("org", "c-000003")
    assert found is not None
    assert found.marketing_opt_out
