"""A large campaign or a slow CRM does not block the others. Proven by the order in the ledger, not by the clock."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.ports import Audience, AudienceType
from tests.support.ledger import campaign_row, contact, launched
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from uuid import UUID

    from starlette.requests import Request
    from starlette.responses import Response

    from marketing_service.db import Database
    from tests.support.world import World


LARGE = 5_000
MAX_BEFORE_A_SMALL_ONE = 2_000
"""The bound does not depend on the size of the large campaign."""

# The messages of the large campaign that were marked between the small campaign's expansion and its last message.
_MARKED_BEFORE_SMALL_ENDED = text(
    """
    SELECT count(*) FROM marketing_sends
    WHERE campaign_id = :large
      AND marked_at >= (SELECT expanded_at FROM marketing_campaigns WHERE id = :small)
      AND marked_at <= (SELECT max(marked_at) FROM marketing_sends WHERE campaign_id = :small)
    """
)


async def marked_before_small_ended(owner: Database, *, large: UUID, small: UUID) -> int:
    async with owner.transaction() as tx:
        return int(
            (await tx.connection.execute(_MARKED_BEFORE_SMALL_ENDED, {"large": large, "small": small})).scalar_one()
        )


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_small_campaign_does_not_wait_for_a_large_one(
    owner: Database, database_url: str, redis_url: str, processes: int
) -> None:
    async with open_world(owner, database_url, redis_url, contacts=130, smtp_connections="20") as world:
        large = await launched(owner, [contact(number) for number in range(LARGE)], org_id=world.org_id)
        async with AsyncExitStack() as workers:
            for _ in range(processes):
                await workers.enter_async_context(world.working())
            await world.relay.until(lambda: len(world.relay.accepted) >= 200)
            small = await world.launch()
            row = await world.until_status(small, "SENT", seconds=120)
        assert row["recipients"] >= 100
        assert (await campaign_row(owner, large))["queued"] > 0, "the large one was still being sent"
        assert await marked_before_small_ended(owner, large=large, small=small) <= MAX_BEFORE_A_SMALL_ONE


async def test_reading_audiences_takes_no_sending_slot(owner: Database, database_url: str, redis_url: str) -> None:
    """More launches than there are slots wait for a CRM that does not respond."""
    async with open_world(owner, database_url, redis_url, worker_jobs="1", worker_audiences="1") as world:
        respond = asyncio.Event()

        async def hang(_: Request) -> Response | None:
            await respond.wait()
            return None

        world.crm.fault = hang
        async with world.working():
            hanging = [await world.launch() for _ in range(3)]

            async def requested() -> bool:
                return bool(world.crm.requests)

            await until(requested)
            expanded = await world.launch_to("a@example.com", "b@example.com")
            await world.until_status(expanded, "SENT")
            assert {(await campaign_row(owner, campaign_id))["expanded_at"] for campaign_id in hanging} == {None}
            respond.set()
            for campaign_id in hanging:
                await world.until_status(campaign_id, "SENT")


async def test_sending_takes_no_slot_of_a_launch(owner: Database, database_url: str, redis_url: str) -> None:
    """Every sending slot waits for a relay that does not reply."""
    async with open_world(owner, database_url, redis_url, worker_jobs="1") as world:
        world.relay.pause()
        async with world.working():
            sending = await world.launch_to("a@example.com")
            await world.relay.until(lambda: world.relay.connections > 0)
            small = await world.launch(Audience(AudienceType.BY_STATUS, ("LEAD",)))
            await until(lambda: is_expanded(world, small))
            assert (await campaign_row(owner, sending))["status"] == "SENDING"
            world.relay.resume()
            await world.until_status(small, "SENT")


async def is_expanded(world: World, campaign_id: UUID) -> bool:
    return (await campaign_row(world.owner, campaign_id))["expanded_at"] is not None


async def test_a_campaign_with_a_costly_template_leaves_the_others_their_rate(
    owner: Database, database_url: str, redis_url: str
) -> None:
    """Both campaigns have the same number of recipients and the same share of the connections. Every message of the
    costly one uses nearly its whole budget. Rendering is the only difference, so with equal turns both would have sent
    about as many messages."""
    costly_body = "{% for i in (1..100) %}<p>{{ firstName }} {{ lastName | upcase }}</p>{% endfor %}" * 2
    people = [contact(number, first_name="A" * 100, last_name="b" * 100) for number in range(150)]
    async with open_world(owner, database_url, redis_url, smtp_connections="8") as world:
        costly = await launched(owner, people, org_id="costly", html_body=costly_body)
        cheap = await launched(owner, people, org_id=world.org_id)
        async with world.working():
            await world.until_status(cheap, "SENT", seconds=120)
            sent = (await campaign_row(owner, costly))["delivered"]
            assert 0 < sent <= len(people) * 0.6, "the costly campaign goes on, and takes little more than half"
            await world.until_status(costly, "SENT", seconds=300)
        assert (await campaign_row(owner, costly))["delivered"] == len(people)


async def test_a_template_that_is_too_costly_for_one_contact_fails_only_that_send(
    owner: Database, database_url: str, redis_url: str
) -> None:
    """The budget is exact: it depends on the values of the contact."""
    people = [contact(number, first_name="x" * 1000 if number == 1 else "Ann") for number in range(3)]
    async with open_world(owner, database_url, redis_url) as world:
        campaign_id = await launched(owner, people, org_id=world.org_id, html_body="{{ firstName }}" * 300)
        other = await launched(owner, 3, org_id="globex")
        async with world.working():
            await world.until_status(campaign_id, "SENT")
            await world.until_status(other, "SENT")
        sends = await world.sends(campaign_id)
        assert {email: (row["status"], row["reason"]) for email, row in sends.items()} == {
            "person0@example.com": ("DELIVERED", None),
            "person1@example.com": ("FAILED", "TEMPLATE_TOO_COSTLY"),
            "person2@example.com": ("DELIVERED", None),
        }
        assert "more than 200,000 octets" in sends["person1@example.com"]["error_message"]
        assert world.relay.recipients["person1@example.com"] == 1  # of the other campaign
