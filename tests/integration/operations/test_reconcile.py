"""`reconcile`: counters that differ from the sends are said and corrected; others are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text

from marketing_service.operations.reconcile import reconcile
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.relay import Step, answer
from tests.support.world import make_settings

if TYPE_CHECKING:
    from uuid import UUID

    from tests.support.world import World


async def run(database_url: str, campaign_id: UUID | None = None, *, only_say: bool = False) -> tuple[int, list[str]]:
    said: list[str] = []
    settings = make_settings(database_url=database_url, redis_url="redis://127.0.0.1")  # Redis is not used
    return await reconcile(settings, campaign_id, only_say=only_say, say=said.append), said


async def sent(world: World) -> UUID:
    campaign_id = await world.launch_to("a@example.com", "b@example.com", "c@example.com")
    async with world.working():
        await world.until_status(campaign_id, "SENT")
    return campaign_id


async def test_a_ledger_that_adds_up_is_left_alone(world: World, database_url: str) -> None:
    campaign_id = await sent(world)
    before = await campaign_row(world.owner, campaign_id)
    assert await run(database_url) == (0, ["1 campaigns compared, 0 differed."])
    assert await campaign_row(world.owner, campaign_id) == before


async def test_counters_that_differ_are_said_and_corrected_with_the_state_that_follows(
    world: World, database_url: str
) -> None:
    """A send that is waiting again makes the campaign SENDING, and the workers send it."""
    campaign_id = await sent(world)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(
            text(
                "UPDATE marketing_sends SET status = 'QUEUED', batch = NULL, due_at = now() WHERE contact_id ="
                " (SELECT min(contact_id) FROM marketing_sends)"
            )
        )
    differing, said = await run(database_url, only_say=True)
    assert differing == 1
    assert said == [
        f"{campaign_id}  queued: 0 counted, 1 found",
        f"{campaign_id}  delivered: 3 counted, 2 found",
        "1 campaigns compared, 1 differed.",
    ]
    assert (await campaign_row(world.owner, campaign_id))["status"] == "SENT", "nothing is corrected yet"
    differing, said = await run(database_url, campaign_id)
    assert said[0].endswith("queued: 0 counted, 1 found, corrected")
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["queued"], row["delivered"]) == ("SENDING", 1, 2)
    assert (await run(database_url))[0] == 0
    async with world.working():
        await world.until_status(campaign_id, "SENT")
    await assert_adds_up(world.owner, campaign_id)


async def test_reasons_that_differ_are_said_and_corrected(world: World, database_url: str) -> None:
    """As after an update, while processes of an older version did not count the reasons."""
    world.relay.on(Step.RCPT, answer(550, "5.1.1 No such user"), when=lambda now: now.recipient == "a@example.com")
    campaign_id = await sent(world)
    async with world.owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_reasons SET smtp_code = 554, sends = -7"))
    _differing, said = await run(database_url, only_say=True)
    assert said == [
        f"{campaign_id}  FAILED REJECTED 550 5.1.1: 0 counted, 1 found",
        f"{campaign_id}  FAILED REJECTED 554 5.1.1: -7 counted, 0 found",
        "1 campaigns compared, 1 differed.",
    ]
    assert (await run(database_url))[0] == 1
    assert (await run(database_url))[0] == 0
    await assert_adds_up(world.owner, campaign_id)


async def test_a_campaign_that_does_not_exist_is_said(database_url: str) -> None:
    unknown = uuid4()
    assert await run(database_url, unknown) == (-1, [f"{unknown}  does not exist"])


@pytest.mark.parametrize("times", [20])
async def test_while_a_campaign_is_sent_nothing_differs(world: World, database_url: str, times: int) -> None:
    campaign_id = await world.launch_to(*(f"p{number}@example.com" for number in range(300)))
    async with world.working():
        for _ in range(times):
            assert (await run(database_url))[0] == 0
        await world.until_status(campaign_id, "SENT")
