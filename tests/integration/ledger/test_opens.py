"""Opens: many loads in one commit, one open per send, and people's loads separate from machines'."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.ledger.opens import Load, record_opens
from marketing_service.store.states import SendStatus
from tests.support.ledger import assert_adds_up, audit_moves, illegal_moves, launched, send_rows
from tests.support.steps import claim, deliver_all, mark, record

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database

LONG_AGO = 0.0
"""A threshold that every load is past."""


async def load(owner: Database, *loads: tuple[UUID, str | None], soon_seconds: float = LONG_AGO) -> int:
    return await record_opens(
        owner.call, [Load(*one) for one in loads], soon_seconds=soon_seconds, soon_reason="SOON_AFTER_DELIVERY"
    )


async def delivered(owner: Database, count: int, *, org_id: str = "acme") -> tuple[UUID, list[UUID]]:
    campaign_id = await launched(owner, count, org_id=org_id)
    await deliver_all(owner, campaign_id)
    return campaign_id, [row["id"] for row in await send_rows(owner, campaign_id)]


async def test_loading_a_pixel_twice_is_one_open(owner: Database) -> None:
    campaign_id, (one, other) = await delivered(owner, 2)
    assert await load(owner, (one, None)) == 1
    assert await load(owner, (one, None)) == 1
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["opens"], counters["opens_delivered"], counters["machine_opens"]) == (1, 1, 0)
    first, second = await send_rows(owner, campaign_id)
    assert (first["open_count"], second["open_count"]) == (2, 0)
    assert first["last_opened_at"] > first["opened_at"]
    assert second["id"] == other


async def test_one_commit_takes_loads_of_several_campaigns_and_organisations(owner: Database) -> None:
    here, (a, b) = await delivered(owner, 2)
    there, (c,) = await delivered(owner, 1, org_id="globex")
    assert await load(owner, (a, None), (c, "X"), (a, None), (uuid.uuid4(), None), (b, "X"), (b, "Y")) == 3
    counters = await assert_adds_up(owner, here)
    assert (counters["opens"], counters["machine_opens"], counters["machine_opens_delivered"]) == (2, 1, 1)
    counters = await assert_adds_up(owner, there)
    assert (counters["opens"], counters["machine_opens"]) == (1, 1)
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(
            text("SELECT campaign_id, org_id, sum(opens) FROM marketing_timeline GROUP BY campaign_id, org_id")
        )
        assert {tuple(row) for row in rows} == {(here, "acme", 2), (there, "globex", 1)}


async def test_a_machines_open_may_become_a_persons_and_never_the_reverse(owner: Database) -> None:
    campaign_id, (send_id,) = await delivered(owner, 1)
    seen = []
    for reason in ("APPLE_MAIL_PRIVACY", "CRAWLER", None, "CRAWLER"):
        await load(owner, (send_id, reason))
        (row,) = await send_rows(owner, campaign_id)
        counters = await assert_adds_up(owner, campaign_id)
        seen.append((row["machine_reason"], counters["opens"], counters["machine_opens"]))
    assert seen == [("APPLE_MAIL_PRIVACY", 1, 1), ("APPLE_MAIL_PRIVACY", 1, 1), (None, 1, 0), (None, 1, 0)]


async def test_of_two_loads_in_one_commit_a_persons_decides(owner: Database) -> None:
    campaign_id, (send_id,) = await delivered(owner, 1)
    await load(owner, (send_id, "CRAWLER"), (send_id, None))
    (row,) = await send_rows(owner, campaign_id)
    assert (row["machine_reason"], row["open_count"]) == (None, 2)


async def test_a_load_within_seconds_of_the_delivery_is_always_a_machines(owner: Database) -> None:
    campaign_id, (send_id,) = await delivered(owner, 1)
    await load(owner, (send_id, None), soon_seconds=60)
    (row,) = await send_rows(owner, campaign_id)
    assert row["machine_reason"] == "SOON_AFTER_DELIVERY"
    await load(owner, (send_id, None))
    (row,) = await send_rows(owner, campaign_id)
    assert row["machine_reason"] is None
    await load(owner, (send_id, None), soon_seconds=60)
    (row,) = await send_rows(owner, campaign_id)
    assert row["machine_reason"] is None, "a person has been there"
    await assert_adds_up(owner, campaign_id)


@pytest.mark.parametrize("reason", [None, "APPLE_MAIL_PRIVACY"])
async def test_an_open_proves_an_unconfirmed_send_delivered(owner: Database, reason: str | None) -> None:
    await audit_moves(owner)
    campaign_id = await launched(owner, 1)
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    await record(owner, held, step.marked[waiting[0].id], SendStatus.UNCONFIRMED)
    await load(owner, (waiting[0].id, reason))
    counters = await assert_adds_up(owner, campaign_id)
    assert (counters["delivered"], counters["unconfirmed"], counters["opens_delivered"]) == (1, 0, 1)
    assert not await illegal_moves(owner)


async def test_groups_that_share_campaigns_in_any_order_do_not_wait_for_each_other(owner: Database) -> None:
    """Each locks the campaigns in the same order; otherwise PostgreSQL would end one of them because of a deadlock."""
    campaigns = [await delivered(owner, 6) for _ in range(3)]
    sends = [send_id for _, ids in campaigns for send_id in ids]
    groups = [sends[n:] + sends[:n] for n in range(0, len(sends), 3)] + [sends[::-1]]
    await asyncio.gather(*(load(owner, *((send_id, None) for send_id in group)) for group in groups * 2))
    for campaign_id, _ in campaigns:
        counters = await assert_adds_up(owner, campaign_id)
        assert counters["opens"] == 6
        assert {row["open_count"] for row in await send_rows(owner, campaign_id)} == {len(groups) * 2}
