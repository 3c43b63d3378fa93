"""`cancel`: no worker continues what it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import text

from marketing_service.operations.cancel import cancel
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.world import make_settings

if TYPE_CHECKING:
    from tests.support.world import World

RECIPIENTS = [f"p{number}@example.com" for number in range(250)]


async def test_all_campaigns_that_are_being_sent_are_cancelled_and_nothing_leaves(
    world: World, database_url: str, redis_url: str
) -> None:
    """As on a restored copy: the workers start afterwards."""
    first = await world.launch_to(*RECIPIENTS)
    second = await world.launch_to(*RECIPIENTS[:3])
    said: list[str] = []
    assert await cancel(make_settings(database_url=database_url, redis_url=redis_url), None, say=said.append) == 0
    assert [line.split()[0] for line in said] == [str(first), str(second)]
    async with world.working():
        for campaign_id in (first, second):
            await world.until_status(campaign_id, "SENT")
            await assert_adds_up(world.owner, campaign_id)
            row = await campaign_row(world.owner, campaign_id)
            assert row["cancelled_at"] is not None
            assert row["skipped"] == row["recipients"]
    assert world.relay.accepted == []
    async with world.owner.transaction() as tx:
        entries = await tx.connection.execute(text("SELECT actor FROM marketing_audit WHERE action = 'cancelled'"))
        assert entries.scalars().all() == ["system", "system"]
    said.clear()
    await cancel(make_settings(database_url=database_url, redis_url=redis_url), None, say=said.append)
    assert said == ["No campaign is SENDING."]


async def test_one_campaign_is_cancelled_and_an_unknown_one_is_said(
    world: World, database_url: str, redis_url: str
) -> None:
    first = await world.launch_to(*RECIPIENTS[:3])
    second = await world.launch_to(*RECIPIENTS[:3])
    unknown = uuid4()
    said: list[str] = []
    assert (
        await cancel(make_settings(database_url=database_url, redis_url=redis_url), {first, unknown}, say=said.append)
        == 1
    )
    assert said[0] == f"{unknown}  is not SENDING, or does not exist"
    assert (await campaign_row(world.owner, first))["cancelled_at"] is not None
    assert (await campaign_row(world.owner, second))["cancelled_at"] is None
