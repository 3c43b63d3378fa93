"""The relay is down far longer than all tries of a send last: no send loses a try."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.support.ledger import campaign_row
from tests.support.relay import Relay, Step, answer, call, delay, hang_up
from tests.support.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

CONNECTIONS = 4
SCHEDULE = "0.05,0.05"
"""All tries of a send take 0.1 s; the shortest outage here takes ten times as long."""


async def go_away(relay: Relay, how: str) -> None:
    """From now on no new connection works; the open ones are reset."""
    relay.behave()
    if how == "refuses connections":
        await relay.stop()
        return
    step, behaviour = {
        "421 in its banner": (Step.BANNER, answer(421, "4.3.2 Maintenance")),
        "535 at the log-in": (Step.AUTH, answer(535, "5.7.8 Credentials invalid")),
        "hangs up at EHLO": (Step.EHLO, hang_up()),
    }[how]
    relay.on(step, behaviour)
    relay.hang_up()


async def come_back(relay: Relay, how: str) -> None:
    relay.behave()
    if how == "refuses connections":
        await relay.start()


REASONS = {
    "refuses connections": "RELAY_DOWN",
    "421 in its banner": "RELAY_BUSY",
    "535 at the log-in": "RELAY_LOGIN_REFUSED",
    "hangs up at EHLO": "RELAY_DOWN",
}
"""How the relay goes away, and why the campaign is paused then."""


@pytest.mark.parametrize("how", [pytest.param(way, marks=pytest.mark.full) for way in REASONS])
async def test_a_relay_that_is_down_uses_no_try_and_updates_no_row(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], full: bool, how: str
) -> None:
    """The relay goes down before its reply to a final dot: only such sends may be UNCONFIRMED."""
    recipients, away = (1_000, 20.0) if full else (100, 1.0)
    scenario = begin(f"relay down: {how}")
    relay = Relay(credentials=("mailer", "secret") if how == "535 at the log-in" else None)
    due = asyncio.Event()
    relay.on(Step.DOT, call(lambda _: due.set(), then=delay(1.0)), nth=20)
    relay.on(Step.DOT, delay(0.02))
    async with (
        relay,
        open_world(owner, database_url, redis_url, smtp_url=relay.url, retry_delays=SCHEDULE) as world,
    ):
        campaign_id = await world.launch_to(*(f"someone@domain{n}.example" for n in range(recipients)))

        async def paused() -> bool:
            row = await campaign_row(owner, campaign_id)
            return bool(row["pause_reason"] == REASONS[how] and row["sending"] == 0)

        async with world.working():
            await asyncio.wait_for(due.wait(), 60)
            await go_away(relay, how)
            scenario.faults += 1
            await scenario.until(paused, relay, seconds=60)
            before = await _rows(owner, campaign_id)
            await asyncio.sleep(away)
            assert await _rows(owner, campaign_id) == before, "a row was updated while the relay was down"
            await come_back(relay, how)
            await scenario.until_sent(owner, campaign_id, relay, seconds=120)
        found = await scenario.reconciled(owner, campaign_id, relay)
    assert {row["attempts"] for row in found.rows} == {1}
    assert (found.duplicates, found.counters["failed"]) == (0, 0)
    assert 1 <= found.counters["unconfirmed"] <= CONNECTIONS
    assert found.counters["delivered"] == recipients - found.counters["unconfirmed"]


async def _rows(owner: Database, campaign_id: UUID) -> list[tuple[object, ...]]:
    """The campaign's rows; a row's `xmin` changes with every update of it, even one that changes nothing."""
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text(
                "SELECT id, xmin::text, status, attempts, tries FROM marketing_sends"
                " WHERE campaign_id = :id ORDER BY id"
            ),
            {"id": campaign_id},
        )
        return [tuple(row) for row in rows]
