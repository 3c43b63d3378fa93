"""When soft bounces of an address put it on the suppression list."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.tracking import Outcome
from tests.integration.tracking.reported import ANN, about, delivered, handler_of, suppressions
from tests.support.reports import MAILBOX_FULL, REFUSED, delivery_report

if TYPE_CHECKING:
    from datetime import date, datetime

    from marketing_service.db import Database
    from marketing_service.tracking import ReportHandler
    from tests.support.world import World


async def run(owner: Database, statement: str) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(text(statement))


async def next_day(owner: Database) -> None:
    """The reports until now arrived a day earlier."""
    await run(owner, "UPDATE marketing_soft_bounces SET last_at = last_at - interval '1 day'")


async def soft(owner: Database, handler: ReportHandler, said: str = MAILBOX_FULL) -> None:
    """A soft bounce of one more campaign, on one more day."""
    await next_day(owner)
    await soft_on_the_same_day(owner, handler, said)


async def soft_on_the_same_day(owner: Database, handler: ReportHandler, said: str = MAILBOX_FULL) -> None:
    _, send = await delivered(owner)
    assert (await about(handler, send, delivery_report(said))).outcome is Outcome.BOUNCED_SOFT


async def days(owner: Database) -> int:
    async with owner.transaction() as tx:
        return int((await tx.connection.execute(text("SELECT in_a_row FROM marketing_soft_bounces"))).scalar_one())


async def utc_day(owner: Database) -> date:
    """The day of the last report."""
    async with owner.transaction() as tx:
        last_at: datetime = (
            await tx.connection.execute(text("SELECT last_at FROM marketing_soft_bounces"))
        ).scalar_one()
    return last_at.astimezone(UTC).date()


async def test_soft_bounces_on_three_days_suppress_the_address(owner: Database, handler: ReportHandler) -> None:
    for _ in range(2):
        await soft(owner, handler)
    assert await suppressions(owner) == []
    await soft(owner, handler)
    (suppression,) = await suppressions(owner)
    assert (suppression["address"], suppression["reason"]) == (ANN, "SOFT_BOUNCES")


async def test_soft_bounces_of_several_campaigns_on_a_day_count_once(owner: Database, handler: ReportHandler) -> None:
    for _ in range(4):  # midnight can be in between, so two days are possible
        await soft_on_the_same_day(owner, handler)
    assert await days(owner) <= 2
    assert await suppressions(owner) == []


async def test_concurrent_soft_bounces_on_a_day_count_once(owner: Database, handler: ReportHandler) -> None:
    sends = [(await delivered(owner))[1] for _ in range(4)]
    await asyncio.gather(*(about(handler, send, delivery_report(MAILBOX_FULL)) for send in sends))
    assert await days(owner) <= 2
    assert await suppressions(owner) == []


async def test_a_day_is_a_utc_day_and_not_a_period_of_24_hours(owner: Database, handler: ReportHandler) -> None:
    """The last report arrived at the start of this UTC day, then just before it."""
    await soft_on_the_same_day(owner, handler)
    for before in ("0 seconds", "1 microsecond"):
        at = f"date_trunc('day', clock_timestamp(), 'UTC') - interval '{before}'"
        await run(owner, f"UPDATE marketing_soft_bounces SET in_a_row = 1, last_at = {at}")
        last_day = await utc_day(owner)
        await soft_on_the_same_day(owner, handler)
        assert await days(owner) == 1 + (await utc_day(owner) != last_day)


async def test_a_delivered_message_in_between_restarts_the_count_of_soft_bounces(
    owner: Database, handler: ReportHandler
) -> None:
    for _ in range(2):
        await soft(owner, handler)
    await delivered(owner)
    for _ in range(2):
        await soft(owner, handler)
    assert await suppressions(owner) == []
    await delivered(owner, "somebody@example.com")
    await delivered(owner, org_id="globex")
    await soft(owner, handler)
    assert len(await suppressions(owner)) == 1


async def test_soft_bounces_count_in_the_order_of_the_launches(owner: Database, handler: ReportHandler) -> None:
    sends = [(await delivered(owner))[1] for _ in range(4)]
    for place in (3, 0, 1):  # the third was delivered, so only one bounce follows it
        await next_day(owner)
        await about(handler, sends[place], delivery_report(MAILBOX_FULL))
    assert await days(owner) == 1
    await next_day(owner)
    await about(handler, sends[2], delivery_report(MAILBOX_FULL))
    await soft(owner, handler)
    assert len(await suppressions(owner)) == 1


async def test_a_bounce_that_does_not_count_does_not_use_up_its_day(owner: Database, handler: ReportHandler) -> None:
    sends = [(await delivered(owner))[1] for _ in range(4)]
    await about(handler, sends[3], delivery_report(MAILBOX_FULL))
    await next_day(owner)
    for place in (0, 2):  # the second was delivered, so the bounce of the first does not count
        await about(handler, sends[place], delivery_report(MAILBOX_FULL))
    assert await days(owner) == 2


async def test_a_message_delivered_later_does_not_restart_the_count_of_soft_bounces(
    owner: Database, world: World
) -> None:
    """No matter how late the reports arrive."""
    handler = handler_of(world, soft_bounces=2)
    sends = [(await delivered(owner))[1] for _ in range(3)]
    for place in (0, 1):
        await next_day(owner)
        await about(handler, sends[place], delivery_report(MAILBOX_FULL))
    assert len(await suppressions(owner)) == 1


async def test_one_soft_bounce_is_enough_if_the_setting_says_so(owner: Database, world: World) -> None:
    await soft(owner, handler_of(world, soft_bounces=1))
    assert len(await suppressions(owner)) == 1


async def test_a_refused_message_does_not_count_against_the_address(owner: Database, handler: ReportHandler) -> None:
    for said in (REFUSED, "451 4.7.1 greylisted", "554 5.7.1 Relay access denied", REFUSED, "554 5.6.0 odd"):
        await soft(owner, handler, said)
    assert await suppressions(owner) == []


async def test_bounces_of_a_resent_send_count_as_one_message(owner: Database, handler: ReportHandler) -> None:
    _, send = await delivered(owner)
    async with owner.transaction() as tx:  # the test changes the status by hand, which is no move of the service
        await tx.connection.execute(text("ALTER TABLE marketing_sends DISABLE TRIGGER audit_move"))
    for attempt in (1, 2, 3):
        await next_day(owner)
        async with owner.transaction() as tx:
            await tx.connection.execute(
                text(
                    "WITH s AS (UPDATE marketing_sends SET status = 'DELIVERED', reason = NULL, attempts = :attempt)"
                    " UPDATE marketing_campaigns SET failed = 0, delivered = 1, soft_bounces = 0"
                ),
                {"attempt": attempt},
            )
        handled = await about(handler, send, delivery_report(MAILBOX_FULL), attempt=attempt)
        assert handled.outcome is Outcome.BOUNCED_SOFT
    assert await suppressions(owner) == []
