"""Pause, cancel and unsubscribe over HTTP at full speed: after the response at most the marked sends still leave."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from marketing_service.api.app import create_app
from marketing_service.auth import mint_token
from marketing_service.tokens import Purpose
from tests.support.ledger import campaign_row, send_rows
from tests.support.relay import Step, call, delay
from tests.support.world import ISSUER, JWT_SECRET, World, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from marketing_service.db import Database
    from tests.chaos.scenario import Scenario

CONNECTIONS = 4
MAX_MARKED = 2 * CONNECTIONS
DUE = ("QUEUED", "DEFERRED")
MESSAGES_PER_OPT_OUT = 10
AHEAD = (4, 8, 16, 40)
"""How many messages before its turn a recipient opts out: the first ones are marked then, the last one never is."""


@asynccontextmanager
async def portal(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with the token of an administrator."""
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


async def act(client: httpx.AsyncClient, campaign_id: UUID, action: str) -> None:
    response = await client.post(f"/api/marketing/campaigns/{campaign_id}/{action}")
    assert response.status_code == 200, response.text


async def launch(world: World, recipients: int) -> UUID:
    return await world.launch_to(*(f"someone@domain{number}.example" for number in range(recipients)))


async def until_accepted(world: World, count: int) -> None:
    """Wait until the relay has accepted this many messages."""
    await world.relay.until(lambda: len(world.relay.accepted) >= count)


async def assert_only_the_marked_leave(world: World, campaign_id: UUID) -> None:
    """Call this right after the response: it waits until nothing is marked, and counts the messages since then."""
    accepted = len(world.relay.accepted)

    async def nothing_marked() -> bool:
        return bool((await campaign_row(world.owner, campaign_id))["sending"] == 0)

    await until(nothing_marked)
    assert len(world.relay.accepted) - accepted <= MAX_MARKED
    accepted = len(world.relay.accepted)
    # The jobs have ended and released their batches, so no task is left that could mark a send.
    await world.until_idle()
    await world.sweep_until_idle(times=1)
    assert len(world.relay.accepted) == accepted, "a send that was not marked has left"


@pytest.mark.full
async def test_after_pause_and_cancel_at_most_the_marked_sends_leave(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], full: bool
) -> None:
    """The campaign is paused and resumed many times, and cancelled at the end. Then the other sends are SKIPPED."""
    pauses, recipients = (30, 5_000) if full else (2, 400)
    scenario = begin("pause, resume, cancel")
    async with (
        open_world(owner, database_url, redis_url, smtp_connections=str(CONNECTIONS)) as world,
        portal(world) as client,
    ):
        world.relay.on(Step.DOT, delay(0.01))
        campaign_id = await launch(world, recipients)
        async with world.working():
            for number in range(pauses):
                await until_accepted(world, recipients * (number + 1) // (pauses + 2))
                await act(client, campaign_id, "pause")
                await assert_only_the_marked_leave(world, campaign_id)
                await act(client, campaign_id, "resume")
                scenario.faults += 1
                scenario.tell(world.relay)
            await until_accepted(world, recipients * (pauses + 1) // (pauses + 2))
            await act(client, campaign_id, "cancel")
            scenario.faults += 1
            await assert_only_the_marked_leave(world, campaign_id)
            await scenario.until_sent(owner, campaign_id, world.relay, seconds=60)
        found = await scenario.reconciled(owner, campaign_id, world.relay)
    assert (found.duplicates, found.ambiguous) == (0, 0)
    assert found.counters["skipped"] > 0
    assert found.counters["delivered"] + found.counters["skipped"] == recipients


async def test_after_an_unsubscribe_only_a_marked_send_leaves(
    owner: Database, database_url: str, redis_url: str, begin: Callable[[str], Scenario], full: bool
) -> None:
    """Each opt-out is of a recipient whose send is marked at that moment or soon after.

    The relay accepts a few messages for each opt-out, so that the sending cannot outrun the opt-outs, however slow
    the machine is. The relay goes on right before the request, so that marking and opting out race.
    """
    opt_outs, recipients = (300, 5_000) if full else (20, 400)
    scenario = begin("unsubscribe")
    async with (
        open_world(owner, database_url, redis_url, smtp_connections=str(CONNECTIONS)) as world,
        portal(world) as client,
    ):
        world.relay.on(Step.DOT, call(lambda _: world.relay.pause()), every=MESSAGES_PER_OPT_OUT)
        campaign_id = await launch(world, recipients)
        in_turn = sorted(await send_rows(owner, campaign_id), key=lambda row: (row["batch"], row["id"]))
        opted_out: set[UUID] = set()
        async with world.working():
            for number in range(opt_outs):
                await world.relay.until(lambda: world.relay.paused)
                ahead = len(world.relay.accepted) + AHEAD[number % len(AHEAD)]
                row = next(row for row in in_turn[ahead:] if row["id"] not in opted_out)
                token = world.api.tokens.issue(Purpose.UNSUBSCRIBE, row["id"])
                world.relay.resume()
                response = await client.post(
                    f"/api/marketing/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"}
                )
                assert response.status_code == 200
                opted_out.add(row["id"])
                status = next(r["status"] for r in await send_rows(owner, campaign_id) if r["id"] == row["id"])
                assert status not in DUE, "it could still be marked"
                scenario.faults += 1
                scenario.tell(world.relay)
            world.relay.behave()
            world.relay.resume()
            await scenario.until_sent(owner, campaign_id, world.relay, seconds=120)
        found = await scenario.reconciled(owner, campaign_id, world.relay)
    assert (found.duplicates, found.ambiguous) == (0, 0)
    skipped = {row["id"] for row in found.rows if row["status"] == "SKIPPED"}
    assert skipped, "every opt-out came too late"
    assert skipped <= opted_out
    assert found.counters["delivered"] + len(skipped) == recipients
