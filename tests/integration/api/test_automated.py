"""Who opens the unsubscribe link: a person, who is opted out at once, or a machine, which gets a page with a button."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.states import SendStatus
from marketing_service.tokens import Purpose
from marketing_service.tracking import Following, follow_unsubscribe_link, machine_rules
from tests.integration.api.recipients import ASK, BROWSER, CONFIRMED, assert_page, delivered, mailed, opted_out
from tests.integration.api.test_scanners import BROWSERS
from tests.support.ledger import launched, send_rows
from tests.support.steps import claim, mark, record
from tests.support.world import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import httpx

    from marketing_service.bootstrap import Resources
    from marketing_service.db import Database
    from tests.integration.api.recipients import Recipient


SOON, TOGETHER = machine_rules().soon.seconds, machine_rules().together.seconds


@pytest.mark.parametrize("agent", BROWSERS)
async def test_a_persons_click_acts_at_once(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources, agent: str
) -> None:
    person, other = await mailed(owner, resources.tokens, 2)
    await anonymous.get(other.pixel, headers=BROWSER)  # somebody else reads at the same time
    response = await anonymous.get(person.unsubscribe, headers={"User-Agent": agent, "Accept-Language": "en"})
    assert_page(response, 200, CONFIRMED)
    assert await opted_out(owner) == {person.address}


async def test_within_seconds_of_the_delivery_a_click_gets_the_button_and_later_it_acts(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    recipient = await in_time(
        owner, resources, anonymous, SOON, lambda one: delivered(owner, one.send_id, ago="0 seconds")
    )
    assert await opted_out(owner) == set()
    await until(partial(is_past, owner, recipient.send_id, "sent_at", SOON))
    assert_page(await anonymous.get(recipient.unsubscribe, headers=BROWSER), 200, CONFIRMED)
    assert await opted_out(owner) == {recipient.address}


@pytest.mark.parametrize(
    ("method", "what", "agent", "times"),
    [
        ("GET", "pixel", BROWSER["User-Agent"], 1),
        ("HEAD", "pixel", BROWSER["User-Agent"], 1),
        ("GET", "click", BROWSER["User-Agent"], 1),
        ("GET", "click", BROWSER["User-Agent"], 2),
        ("GET", "click", "Barracuda Sentinel (EE)", 1),
        ("HEAD", "click", BROWSER["User-Agent"], 1),
    ],
    ids=["pixel", "head of pixel", "first click", "another click", "a machine's click", "head of link"],
)
async def test_in_the_second_after_another_request_a_click_gets_the_button_and_later_it_acts(
    anonymous: httpx.AsyncClient,
    owner: Database,
    resources: Resources,
    method: str,
    what: str,
    agent: str,
    times: int,
) -> None:
    async def load(recipient: Recipient) -> None:
        for _ in range(times):
            await delivered(owner, recipient.send_id, ago="1 hour")
            response = await anonymous.request(method, getattr(recipient, what), headers={"User-Agent": agent})
            assert response.status_code in {200, 302}

    recipient = await in_time(owner, resources, anonymous, TOGETHER, load)
    assert await opted_out(owner) == set()
    column = "last_opened_at" if (what, method) == ("pixel", "GET") else "link_requested_at"
    await until(partial(is_past, owner, recipient.send_id, column, TOGETHER))
    assert_page(await anonymous.get(recipient.unsubscribe, headers=BROWSER), 200, CONFIRMED)
    assert await opted_out(owner) == {recipient.address}


async def test_a_person_who_presses_the_button_is_opted_out_at_any_time(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    (recipient,) = await mailed(owner, resources.tokens, 1, ago="0 seconds")
    await anonymous.get(recipient.pixel, headers=BROWSER)
    assert_page(await anonymous.post(recipient.unsubscribe, headers=BROWSER), 200, CONFIRMED)
    assert await opted_out(owner) == {recipient.address}


async def test_requests_for_the_unsubscribe_link_itself_do_not_make_a_person_a_machine(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources
) -> None:
    """An Office program or a browser may look at a link right before the person's browser opens it."""
    (recipient,) = await mailed(owner, resources.tokens, 1)
    await anonymous.head(recipient.unsubscribe, headers=BROWSER)
    for headers in (BROWSER | {"Sec-Purpose": "prefetch"}, {"User-Agent": "Microsoft Office Existence Discovery"}):
        assert_page(await anonymous.get(recipient.unsubscribe, headers=headers), 200, ASK)
    assert_page(await anonymous.get(recipient.unsubscribe, headers=BROWSER), 200, CONFIRMED)


@pytest.mark.parametrize("outcome", ["SENDING", "DEFERRED", "UNCONFIRMED"])
async def test_before_the_delivery_is_recorded_only_the_receiving_side_has_the_link(
    anonymous: httpx.AsyncClient, owner: Database, resources: Resources, outcome: str
) -> None:
    """A gateway scans a message before it replies to the final dot. The first marking may be long ago."""
    campaign_id = await launched(owner, 1)
    held, (waiting,) = await claim(owner, campaign_id)
    marked = (await mark(owner, held, waiting)).marked[waiting.id]
    if outcome != "SENDING":
        await record(owner, held, marked, SendStatus(outcome), delay=3600.0 if outcome == "DEFERRED" else None)
    async with owner.transaction() as tx:
        await tx.connection.execute(text("UPDATE marketing_sends SET marked_at = now() - interval '1 hour'"))
        # A busy machine may need longer than the seconds of the rule.
        await tx.connection.execute(
            text("UPDATE marketing_sends SET unconfirmed_at = unconfirmed_at + interval '1 hour'")
        )
    (row,) = await send_rows(owner, campaign_id)
    assert row["status"] == outcome
    link = f"/api/marketing/unsubscribe/{resources.tokens.issue(Purpose.UNSUBSCRIBE, row['id'])}"
    assert_page(await anonymous.get(link, headers=BROWSER), 200, ASK)
    assert await opted_out(owner) == set()
    assert_page(await anonymous.post(link, headers=BROWSER), 200, CONFIRMED)


@pytest.mark.parametrize("is_loaded", [True, False])
async def test_a_load_that_is_recorded_during_the_opt_out_stops_it(
    owner: Database, resources: Resources, is_loaded: bool
) -> None:
    """The opt-out waits for the campaign's lock, behind the load of the pixel. It must see that load."""
    (recipient,) = await mailed(owner, resources.tokens, 1)
    async with owner.transaction() as tx:
        campaign_id = (await tx.connection.execute(text("SELECT campaign_id FROM marketing_sends"))).scalar_one()
        await lock_campaign(tx.connection, campaign_id)
        following = asyncio.create_task(follow(resources, recipient))
        await until(partial(waits_for_a_lock, owner))
        if is_loaded:
            await tx.connection.execute(text("UPDATE marketing_sends SET last_opened_at = clock_timestamp()"))
    assert await following is (Following.BY_MACHINE if is_loaded else Following.OPTED_OUT)
    assert await opted_out(owner) == (set() if is_loaded else {recipient.address})


@pytest.mark.parametrize("column", ["last_opened_at", "link_requested_at", "sent_at"])
async def test_a_request_that_waited_is_judged_by_its_arrival(
    owner: Database, resources: Resources, column: str
) -> None:
    """Connections and locks may take longer than the rule's seconds."""
    (recipient,) = await mailed(owner, resources.tokens, 1)
    async with owner.transaction() as tx:
        await tx.connection.execute(text(f"UPDATE marketing_sends SET {column} = clock_timestamp() - interval '50 s'"))

    assert await follow(resources, recipient, waited=60) is Following.BY_MACHINE
    assert await opted_out(owner) == set()
    assert await follow(resources, recipient) is Following.OPTED_OUT
    assert await opted_out(owner) == {recipient.address}


async def follow(resources: Resources, recipient: Recipient, *, waited: float = 0.0) -> Following:
    """A browser opens the unsubscribe link, and its request has waited for so many seconds."""
    return await follow_unsubscribe_link(
        resources.transactions, resources.job_queue, recipient.send_id, arrived=time.monotonic() - waited
    )


async def waits_for_a_lock(owner: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with owner.transaction() as tx:
        return bool((await tx.connection.execute(text(waiting))).scalar_one())


async def in_time(
    owner: Database,
    resources: Resources,
    client: httpx.AsyncClient,
    seconds: float,
    load: Callable[[Recipient], Awaitable[None]],
) -> Recipient:
    """A recipient for whom `load` was done and whose unsubscribe link was opened within `seconds` after it. The page
    has a button. A busy machine may need several attempts, each with another recipient."""
    for recipient in await mailed(owner, resources.tokens, 50):
        started = time.monotonic()
        await load(recipient)
        page = await client.get(recipient.unsubscribe, headers=BROWSER)
        if time.monotonic() - started < seconds:
            assert_page(page, 200, ASK)
            return recipient
        async with owner.transaction() as tx:
            await tx.connection.execute(text("DELETE FROM marketing_opt_outs"))
            await tx.connection.execute(text("UPDATE marketing_sends SET unsubscribed_at = NULL"))
    raise AssertionError("the machine is too slow for this test")


async def is_past(owner: Database, send_id: UUID, column: str, seconds: float) -> bool:
    """Whether so many seconds have passed since the moment in this column, by PostgreSQL's clock."""
    async with owner.transaction() as tx:
        past = await tx.connection.execute(
            text(f"SELECT clock_timestamp() > {column} + :s * interval '1 second' FROM marketing_sends WHERE id = :id"),
            {"id": send_id, "s": seconds},
        )
        return bool(past.scalar_one())
