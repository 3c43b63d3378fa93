"""PostgreSQL fails over to its synchronous standby in mid-campaign: no send is lost, doubled or uncertain."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from marketing_service.db import Database
from marketing_service.devstack.postgres import PostgresServer
from tests.chaos.calling_api import calling_api
from tests.chaos.test_servers import Outages, one_worker
from tests.support.fixtures import migrate
from tests.support.ledger import contact, launched
from tests.support.postgres_servers import crash, make_standby, promote, require_standby
from tests.support.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.scenario import Scenario


@pytest.mark.parametrize("mode", ["hold", pytest.param("resend", marks=pytest.mark.full)])
async def test_a_failover_to_a_synchronous_standby_loses_and_doubles_nothing(
    redis_url: str, tmp_path: Path, begin: Callable[[str], Scenario], full: bool, mode: str
) -> None:
    """A mark whose commit was not confirmed is found by the next try of the commit, so that even its send is sent."""
    failovers, recipients = (5, 5_000) if full else (1, 500)
    scenario = begin(f"failover to a synchronous standby, {mode}")
    with ExitStack() as servers:
        primary = servers.enter_context(PostgresServer(tmp_path / "one", durable=False))
        await asyncio.to_thread(migrate, primary.url())
        standby = servers.enter_context(await asyncio.to_thread(make_standby, primary, tmp_path / "two"))
        await require_standby(primary)
        url = of_both(primary, standby)
        owner = Database(url, role=None, pool_size=3)
        async with Relay() as relay:
            campaign_id = await launched(owner, [contact(number) for number in range(recipients)])
            pace = Outages(scenario, relay, outages=failovers, recipients=recipients)
            async with (
                calling_api(url, redis_url) as answers,
                one_worker(url, redis_url, relay, tmp_path / "log", lease_seconds="60", ambiguous_sends=mode) as worker,
            ):
                for failover in range(failovers):
                    await pace.next()
                    await asyncio.to_thread(crash, primary)
                    if failover == 0:
                        await answers.until_it_is_named("has no host of the kind that target_session_attrs asks for")
                    await promote(standby)
                    await pace.resumed()
                    if failover + 1 < failovers:
                        primary, standby = standby, primary
                        place, port = standby.data_dir, standby.port
                        standby = await asyncio.to_thread(make_standby, primary, place, port=port)
                        servers.enter_context(standby)
                        await require_standby(primary)
                await scenario.until_sent(owner, campaign_id, relay, seconds=300)
            assert "Traceback" not in worker.log()
            found = await scenario.reconciled(owner, campaign_id, relay)
        await owner.close()
    assert scenario.faults == failovers
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["delivered"] == recipients


def of_both(first: PostgresServer, second: PostgresServer) -> str:
    """The address of whichever of the two takes writes."""
    parts = urlsplit(first.url())
    hosts = f"{parts.username}:{parts.password}@127.0.0.1:{first.port},127.0.0.1:{second.port}"
    return f"postgresql://{hosts}{parts.path}?target_session_attrs=read-write"
