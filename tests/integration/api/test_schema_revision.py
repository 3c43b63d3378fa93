"""A database whose schema is older than this version needs: not ready, with the cause, and no 500."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
import structlog
from alembic import command

from marketing_service.api.app import create_app
from marketing_service.bootstrap import Resources
from tests.integration.api.support import CAMPAIGNS, api_settings, assert_problem, client_of, token
from tests.support.fixtures import alembic_config

if TYPE_CHECKING:
    from marketing_service.devstack.valkey import ValkeyServer

REVOKE = "REVOKE SELECT ON marketing_schema_version FROM marketing_api"


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("UPDATE marketing_schema_version SET version_num = '0009'", "The schema is at 0009, and this version needs"),
        (REVOKE, "The schema is at an unknown revision, and this version needs"),
        ("DELETE FROM marketing_schema_version", "The schema is missing, and this version needs"),
        ("DROP TABLE marketing_schema_version", "The schema is missing, and this version needs"),
        ("UPDATE marketing_schema_version SET version_num = '9998'", None),
    ],
    ids=["older", "not readable", "taken back", "not migrated", "newer"],
)
async def test_an_api_is_ready_if_the_schema_is_not_older_than_it_needs(
    database_url: str, redis_url: str, statement: str, cause: str | None
) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute(statement)
    await owner.close()
    async with Resources.open(api_settings(database_url, redis_url), process="api") as resources:
        found = (await resources.missing()).get("postgresql")
    assert found is None if cause is None else found is not None and found.startswith(cause), found
    assert cause is None or "run `marketing-service migrate`" in str(found)


async def test_a_request_that_an_older_schema_cannot_answer_is_a_503_with_the_cause(
    database_url: str, valkey: ValkeyServer
) -> None:
    await asyncio.to_thread(command.downgrade, alembic_config(database_url), "0005")
    async with (
        Resources.open(api_settings(database_url, valkey.url()), process="api") as resources,
        client_of(create_app(resources), token()) as client,
    ):
        with structlog.testing.capture_logs() as logs:
            problem = assert_problem(await client.get(CAMPAIGNS), 503, "unavailable")
    assert "run `marketing-service migrate`" in problem["detail"]
    (line,) = (line for line in logs if line["event"] == "unavailable")
    assert "UndefinedColumn" in line["cause"]
