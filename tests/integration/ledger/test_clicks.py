"""Clicks: sends and visits are counted separately, so are people and machines; a click proves a delivery."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from marketing_service.ledger import clicks
from marketing_service.ledger.opens import Load, record_opens
from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.store.clicks import SentLink, links_of, sent_link, write_links
from marketing_service.store.sends import note_link_request
from marketing_service.store.states import SendStatus
from tests.support.ledger import ORG, assert_adds_up, audit_moves, illegal_moves, launched, send_rows
from tests.support.steps import claim, deliver_all, mark, record

if TYPE_CHECKING:
    from marketing_service.db import Database

LINKS = ("https://a.example/", "https://b.example/{{ firstName }}")


async def delivered(owner: Database, contacts: int = 3) -> tuple[UUID, list[UUID]]:
    campaign_id = await launched(owner, contacts)
    async with owner.transaction() as tx:
        await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=LINKS)
    await deliver_all(owner, campaign_id)
    return campaign_id, [row["id"] for row in await send_rows(owner, campaign_id)]


async def click(
    owner: Database, send_id: UUID, number: int, *, machine: bool = False, soon_seconds: float = 0
) -> SentLink | None:
    async with owner.transaction() as tx:
        link = await sent_link(tx.connection, send_id=send_id, number=number, soon_seconds=soon_seconds)
        if link is not None:
            act = clicks.record_machine_click if machine else clicks.record_click
            await act(tx.connection, link, send_id=send_id, number=number)
    return link


async def stats(owner: Database, campaign_id: UUID) -> list[tuple[int, int, int]]:
    async with owner.transaction() as tx:
        links = await links_of(tx.connection, campaign_id)
    assert [(link.number, link.url) for link in links] == list(enumerate(LINKS, 1))
    return [(link.clicks, link.total_clicks, link.machine_clicks) for link in links]


async def test_a_send_counts_once_and_each_visit_counts(owner: Database) -> None:
    campaign_id, (first, second, _) = await delivered(owner)
    for send_id, number in ((first, 1), (first, 1), (first, 2), (second, 1)):
        assert await click(owner, send_id, number)
    assert await stats(owner, campaign_id) == [(2, 3, 0), (1, 1, 0)]
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["clicks"], counters["delivered"]) == (2, 3)
    rows = await send_rows(owner, campaign_id)
    assert [row["clicked_at"] is not None for row in rows] == [True, True, False]


async def test_a_machines_click_moves_only_the_count_of_machine_clicks(owner: Database) -> None:
    campaign_id, (first, *_) = await delivered(owner)
    assert await click(owner, first, 2, machine=True)
    assert await stats(owner, campaign_id) == [(0, 0, 0), (0, 0, 1)]
    assert (await assert_adds_up(owner, campaign_id))["clicks"] == 0
    assert (await send_rows(owner, campaign_id))[0]["clicked_at"] is None


async def test_a_click_right_after_the_delivery_is_soon(owner: Database) -> None:
    _, (first, *_) = await delivered(owner)
    for seconds, is_soon in ((3600.0, True), (0.0, False)):
        link = await click(owner, first, 1, soon_seconds=seconds)
        assert link is not None
        assert link.is_soon is is_soon


async def test_any_click_proves_that_an_unconfirmed_send_arrived(owner: Database) -> None:
    await audit_moves(owner)
    for machine in (False, True):
        campaign_id = await launched(owner, 1)
        async with owner.transaction() as tx:
            await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=LINKS)
        held, waiting = await claim(owner, campaign_id)
        step = await mark(owner, held, *waiting)
        await record(owner, held, step.marked[waiting[0].id], SendStatus.UNCONFIRMED)
        assert await click(owner, waiting[0].id, 1, machine=machine)
        (row,) = await send_rows(owner, campaign_id)
        assert (row["status"], row["sent_at"]) == ("DELIVERED", row["marked_at"])
        counters = await assert_adds_up(owner, campaign_id)
        assert (counters["delivered"], counters["clicks"]) == (1, int(not machine))
    assert not await illegal_moves(owner)


async def test_a_link_of_an_unmarked_send_or_an_unknown_link_is_not_found(owner: Database) -> None:
    campaign_id = await launched(owner, 1)
    async with owner.transaction() as tx:
        await write_links(tx.connection, org_id=ORG, campaign_id=campaign_id, urls=LINKS)
    (row,) = await send_rows(owner, campaign_id)
    assert await click(owner, row["id"], 1) is None
    _, (first, *_) = await delivered(owner)
    assert await click(owner, first, 3) is None
    assert await click(owner, UUID(int=1), 1) is None


async def test_a_hundred_clicks_at_once_add_up(owner: Database) -> None:
    campaign_id, sends = await delivered(owner)
    async with asyncio.TaskGroup() as clicking:
        for n in range(100):
            clicking.create_task(click(owner, sends[n % 3], 1 + n % 2, machine=n % 5 == 0))
    links = await stats(owner, campaign_id)
    assert [sum(column) for column in zip(*links, strict=True)] == [6, 80, 20]
    assert (await assert_adds_up(owner, campaign_id))["clicks"] == 3
    async with owner.transaction() as tx:
        rows = (await tx.connection.execute(text("SELECT number, sum(clicks) FROM marketing_clicks GROUP BY 1"))).all()
    assert {row.number: row.sum for row in rows} == {1: links[0][1], 2: links[1][1]}


async def test_clicks_loads_and_opt_outs_of_the_same_sends_do_not_wait_for_each_other(owner: Database) -> None:
    """All of them lock rows in the same order; otherwise PostgreSQL would end one of them because of a deadlock."""
    campaign_id, sends = await delivered(owner)
    rows = {row["id"]: row for row in await send_rows(owner, campaign_id)}

    async def request_head(send_id: UUID) -> None:
        async with owner.transaction() as tx:
            await note_link_request(tx.connection, send_id)

    async def opt_out(send_id: UUID) -> None:
        async with owner.transaction() as tx:
            await record_opt_out(
                tx.connection, org_id=ORG, campaign_id=campaign_id, send_id=send_id, address=rows[send_id]["address"]
            )

    async with asyncio.TaskGroup() as requests:
        for n in range(60):
            send_id = sends[n % 3]
            requests.create_task(click(owner, send_id, 1 + n % 2))
            requests.create_task(click(owner, send_id, 1 + n % 2, machine=True))
            requests.create_task(request_head(send_id))
            loads = [Load(one, None) for one in (*sends[n % 3 :], *sends[: n % 3])]
            requests.create_task(record_opens(owner.call, loads, soon_seconds=0, soon_reason="SOON"))
            if n % 10 == 0:
                requests.create_task(opt_out(send_id))
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["clicks"], counters["opens"], counters["unsubscribes"]) == (3, 3, 3)
    assert [sum(column) for column in zip(*await stats(owner, campaign_id), strict=True)] == [6, 60, 60]
    assert all(row["link_requested_at"] for row in await send_rows(owner, campaign_id))
