"""The audience slots of a worker: an organisation holds at most one while another one waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from marketing_service.devstack.contacts import OTHER_ORG_ID
from marketing_service.store.expansions import claim_expansion
from marketing_service.worker.audience_slots import AudienceSlots
from tests.support.ledger import campaign_row
from tests.support.world import until

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.requests import Request
    from starlette.responses import Response

    from marketing_service.preflight import MustYield
    from tests.support.world import World


class Reader:
    """A job that holds its slot until it is told to end, or until it must yield after a page."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.end = asyncio.Event()
        self.yielded = False
        self.pages = 0

    async def __call__(self, must_yield: MustYield) -> None:
        self.started.set()
        while not self.end.is_set():
            self.pages += 1
            if await must_yield():
                self.yielded = True
                return
            await asyncio.sleep(0.01)


async def start(slots: AudienceSlots, campaign_id: UUID) -> tuple[Reader, asyncio.Task[None]]:
    """A job that has started, or that has ended because it got no slot."""
    reader = Reader()
    job = asyncio.create_task(slots.run(campaign_id, reader))
    started = asyncio.create_task(reader.started.wait())
    await asyncio.wait((job, started), return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    return reader, job


async def test_the_second_slot_of_an_organisation_is_given_up_for_another_one(world: World) -> None:
    slots = AudienceSlots(world.worker.transactions, number=2)
    ours = [await world.launch() for _ in range(3)]
    first, first_job = await start(slots, ours[0])
    second, second_job = await start(slots, ours[1])
    pages = first.pages + second.pages

    async def both_go_on() -> bool:
        return first.pages + second.pages > pages + 10

    # Nobody else waits.
    await until(both_go_on)
    theirs = await world.launch(org_id=OTHER_ORG_ID)
    await asyncio.wait_for(second_job, 60)
    assert second.yielded
    # A further job of the organisation gets no slot; the job of the other one does.
    third, _ = await start(slots, ours[2])
    assert not third.started.is_set()
    other, other_job = await start(slots, theirs)
    assert other.started.is_set()
    # With a slot, the other organisation waits for none.
    fourth, fourth_job = await start(slots, ours[2])
    assert fourth.started.is_set()
    for reader in (first, other, fourth):
        reader.end.set()
    await asyncio.gather(first_job, other_job, fourth_job)
    assert not first.yielded
    assert not other.yielded


async def test_a_claimed_audience_does_not_wait(world: World) -> None:
    slots = AudienceSlots(world.worker.transactions, number=2)
    ours = [await world.launch() for _ in range(2)]
    theirs = await world.launch(org_id=OTHER_ORG_ID)
    async with world.worker.transactions() as tx:
        assert await claim_expansion(tx.connection, theirs, lease=60)
    readers = [await start(slots, campaign_id) for campaign_id in ours]
    for reader, job in readers:
        assert reader.started.is_set()
        reader.end.set()
        await job


async def test_many_launches_of_an_organisation_do_not_delay_another_one(world: World) -> None:
    """A real worker with two slots. The first list of the organisation ends only after the other one has its own."""
    held: set[str] = set()
    other_is_expanded = asyncio.Event()

    async def hold_the_first_list(request: Request) -> Response | None:
        if f"/{world.org_id}/contacts" in request.url.path:
            if not held:
                held.add(str(request.url))
                await asyncio.wait_for(other_is_expanded.wait(), 60)
            else:
                await asyncio.sleep(0.2)
        return None

    world.crm.fault = hold_the_first_list
    many = [await world.launch() for _ in range(8)]
    async with world.working():

        async def two_are_read() -> bool:
            return len(world.crm.requests) >= 2

        await until(two_are_read)
        other = await world.launch(org_id=OTHER_ORG_ID)

        async def expanded() -> bool:
            return (await campaign_row(world.owner, other))["expanded_at"] is not None

        await until(expanded)
        waiting = [await campaign_row(world.owner, campaign_id) for campaign_id in many]
        other_is_expanded.set()
        assert sum(row["expanded_at"] is None for row in waiting) > 1, "it did not wait for all of them"
        for campaign_id in many:
            await world.until_status(campaign_id, "SENT")
