"""Pause, cancel and unsubscribe over HTTP, at full speed: after the answer at most what was marked still leaves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from marketing_service.api.app import create_app
from marketing_service.auth import mint_token
from marketing_service.tokens import Purpose
from tests.support.ledger import campaign_row, send_rows
from tests.support.relay import Step, delay
from tests.support.world import ISSUER, JWT_SECRET, World, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

CONNECTIONS = 4
MAX_MARKED = 2 * CONNECTIONS
DUE = ("QUEUED", "DEFERRED")


@asynccontextmanager
async def portal(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The portal's administrator."""
    token = mint_token(
        JWT_SECRET,
        ISSUER,
        "marketing",
        subject="ada",
        org_id=world.org_id,
        roles=["ADMIN"],
        features=["marketing"],
        lifetime_seconds=900,
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(world.api)),
        base_url="http://marketing.test",
        headers={"Authorization": f"Bearer {token}"},
    ) as client:
        yield client


async def ask(client: httpx.AsyncClient, campaign_id: UUID, what: str) -> None:
    answer = await client.post(f"/api/marketing/campaigns/{campaign_id}/{what}")
    assert answer.status_code == 200, answer.text


async def launched_world(world: World, recipients: int) -> UUID:
    world.relay.on(Step.DOT, delay(0.01))
    return await world.launch_to(*(f"someone@domain{number}.example" for number in range(recipients)))


async def taken(world: World, share: int) -> None:
    """Wait until the relay has taken so many."""
    await world.relay.until(lambda: len(world.relay.accepted) >= share, 60)


async def at_most_the_marked_leave(world: World, campaign_id: UUID) -> None:
    """To be called as the answer comes: waits until nothing is marked, and counts what has left since."""
    left = len(world.relay.accepted)

    async def is_quiet() -> bool:
        return bool((await campaign_row(world.owner, campaign_id))["sending"] == 0)

    await until(is_quiet, seconds=30)
    assert len(world.relay.accepted) - left <= MAX_MARKED
    left = len(world.relay.accepted)
    await asyncio.sleep(0.3)
    assert len(world.relay.accepted) == left, "something leaves that was not marked"


@pytest.mark.full
async def test_after_pause_and_cancel_at_most_the_marked_sends_leave(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Paused and resumed again and again, and cancelled in the end; the rest says so."""
    pauses, recipients = (30, 5_000) if full else (2, 400)
    scenario = begin("pause, resume, cancel")
    async with (
        open_world(owner, database_url, redis_url, smtp_connections=str(CONNECTIONS)) as world,
        portal(world) as client,
    ):
        campaign_id = await launched_world(world, recipients)
        async with world.working():
            for number in range(pauses):
                await taken(world, recipients * (number + 1) // (pauses + 2))
                await ask(client, campaign_id, "pause")
                await at_most_the_marked_leave(world, campaign_id)
                await ask(client, campaign_id, "resume")
                scenario.faults += 1
                scenario.tell(world.relay)
            await taken(world, recipients * (pauses + 1) // (pauses + 2))
            await ask(client, campaign_id, "cancel")
            scenario.faults += 1
            await at_most_the_marked_leave(world, campaign_id)
            await scenario.until_sent(owner, campaign_id, world.relay, seconds=30)
        found = await scenario.reconciled(owner, campaign_id, world.relay)
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["skipped"] > 0
    assert found.counters["delivered"] + found.counters["skipped"] == recipients


async def test_after_an_unsubscribe_only_what_was_marked_leaves(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Those who unsubscribe are the ones whose turn comes next, so that some are marked already."""
    people, recipients = (300, 5_000) if full else (20, 400)
    scenario = begin("unsubscribe")
    async with (
        open_world(owner, database_url, redis_url, smtp_connections=str(CONNECTIONS)) as world,
        portal(world) as client,
    ):
        campaign_id = await launched_world(world, recipients)
        in_turn = sorted(await send_rows(owner, campaign_id), key=lambda row: (row["batch"], row["id"]))
        asked: set[UUID] = set()
        async with world.working():
            while len(asked) < people:
                left = len(world.relay.accepted)
                row = next((row for row in in_turn[left + 5 * CONNECTIONS :] if row["id"] not in asked), None)
                if row is None:
                    break  # the sending was faster than the people
                token = world.api.tokens.issue(Purpose.UNSUBSCRIBE, row["id"])
                answer = await client.post(
                    f"/api/marketing/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"}
                )
                assert answer.status_code == 200
                asked.add(row["id"])
                now_is = next(r["status"] for r in await send_rows(owner, campaign_id) if r["id"] == row["id"])
                assert now_is not in DUE, "it could still be marked"
                scenario.faults += 1
                scenario.tell(world.relay)
            world.relay.behave()
            await scenario.until_sent(owner, campaign_id, world.relay, seconds=120)
        found = await scenario.reconciled(owner, campaign_id, world.relay)
    assert (found.duplicates, found.ambiguous) == (0, 0)
    skipped = {row["id"] for row in found.rows if row["status"] == "SKIPPED"}
    assert skipped, "everybody had been mailed already"
    assert skipped <= asked
    assert found.counters["delivered"] + len(skipped) == recipients
