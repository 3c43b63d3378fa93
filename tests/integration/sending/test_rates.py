"""Rate limits that all workers share: a worker asks before it marks, and a limit of one campaign delays no other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.campaigns.test_mails import request_test_mail
from marketing_service.devstack.valkey import ValkeyServer
from marketing_service.errors import Unavailable
from marketing_service.ledger import lifecycle
from marketing_service.store.audit import Actor
from tests.support.ledger import assert_adds_up, campaign_row, send_rows
from tests.support.relay import Step, call
from tests.support.world import World, open_world, until

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from marketing_service.db import Database


def addresses(count: int) -> list[str]:
    return [f"p{number}@example.com" for number in range(count)]


async def until_released(world: World, campaign_id: UUID) -> list[int]:
    """Wait until nothing is marked and no batch is leased; returns the batches' epochs."""
    epochs: list[int] = []

    async def released() -> bool:
        async with world.owner.transaction() as tx:
            rows = (
                await tx.connection.execute(
                    text(
                        "SELECT b.epoch, c.delivered > 0 AND c.sending = 0 AND NOT EXISTS (SELECT FROM"
                        " marketing_batches WHERE lease_until IS NOT NULL OR enqueued_at IS NULL OR"
                        " enqueued_at > now())"
                        " AS done"
                        " FROM marketing_batches b JOIN marketing_campaigns c ON c.id = b.campaign_id"
                        " WHERE c.id = :id ORDER BY number"
                    ),
                    {"id": campaign_id},
                )
            ).all()
        epochs[:] = [row.epoch for row in rows]
        return bool(rows) and all(row.done and row.epoch for row in rows)

    await until(released)
    return epochs


async def no_batch_is_leased(world: World) -> bool:
    async with world.owner.transaction() as tx:
        leased = await tx.connection.execute(
            text("SELECT count(*) FROM marketing_batches WHERE lease_until IS NOT NULL")
        )
        return bool(leased.scalar_one() == 0)


async def test_two_workers_share_a_limit_and_claim_no_batch_once_it_is_used_up(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(
        owner, database_url, redis_url, rate_relay="1000/second,30/hour", requeue_seconds="120"
    ) as world:
        campaign_id = await world.launch_to(*addresses(250))
        async with world.working(), world.working():
            epochs = await until_released(world, campaign_id)
            await world.sweep_until_idle()
            assert await until_released(world, campaign_id) == epochs, "a batch that may not be sent was claimed"
        row = await campaign_row(owner, campaign_id)
        assert (row["delivered"], row["queued"]) == (30, 220)
        assert len(world.relay.accepted) == 30
        assert {(s["status"], s["attempts"]) for s in await send_rows(owner, campaign_id)} == {
            ("DELIVERED", 1),
            ("QUEUED", 0),
        }
        await assert_adds_up(owner, campaign_id)


async def test_a_batch_waits_for_a_limit_that_allows_more_soon_and_everything_is_sent(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, rate_relay="20/second") as world:
        campaign_id = await world.launch_to(*addresses(50))
        async with world.working():
            row = await world.until_status(campaign_id, "SENT")
        assert row["delivered"] == 50
        assert set(world.relay.recipients.values()) == {1}
        assert {send["attempts"] for send in await send_rows(owner, campaign_id)} == {1}


async def test_without_redis_nothing_is_marked_and_nothing_is_lost(
    owner: Database, database_url: str, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "valkey") as valkey:
        async with open_world(owner, database_url, valkey.url(), rate_relay="100000/hour") as world:
            world.relay.on(Step.DOT, call(lambda _: world.relay.pause()), nth=21)
            campaign_id = await world.launch_to(*addresses(400))
            async with world.working():
                await world.relay.until(lambda: world.relay.paused)
                valkey.kill()
                world.relay.resume()

                async def nothing_marked() -> bool:
                    row = await campaign_row(owner, campaign_id)
                    return bool(row["sending"] == 0 and row["delivered"] == len(world.relay.accepted))

                await until(nothing_marked)
                await until(partial(no_batch_is_leased, world))
                queued = (await campaign_row(owner, campaign_id))["queued"]
                for _ in range(5):
                    with suppress(Unavailable):
                        await world.sweep()
                assert (await campaign_row(owner, campaign_id))["queued"] == queued > 0
                valkey.start()
                row = await world.until_status(campaign_id, "SENT", seconds=90)
            assert row["delivered"] == 400
            assert set(world.relay.recipients.values()) == {1}
            assert {send["attempts"] for send in await send_rows(owner, campaign_id)} == {1}


async def test_a_used_up_limit_blocks_neither_pause_nor_cancel(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, rate_org="3/hour") as world:
        campaign_id = await world.launch_to(*addresses(20))
        async with world.working():
            await world.relay.until(lambda: len(world.relay.accepted) == 3)
            async with asyncio.timeout(60):
                async with world.api.transactions(world.org_id) as tx:
                    assert await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)
                async with world.api.transactions(world.org_id) as tx:
                    assert await lifecycle.resume(tx.connection, campaign_id)
                async with world.api.transactions(world.org_id) as tx:
                    assert await lifecycle.cancel(tx.connection, campaign_id)
            row = await world.until_status(campaign_id, "SENT")
        assert (row["delivered"], row["skipped"]) == (3, 17)


async def test_a_campaign_stays_paused_while_a_batch_waits_for_the_rate_limit(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, rate_relay="2/second") as world:
        campaign_id = await world.launch_to(*addresses(30))
        async with world.working():
            await world.relay.until(lambda: len(world.relay.accepted) >= 2)
            async with world.api.transactions(world.org_id) as tx:
                assert await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)
            limit = len(world.relay.accepted) + 2 * world.settings.smtp_connections
            await until(partial(no_batch_is_leased, world))
            assert len(world.relay.accepted) <= limit
            row = await campaign_row(owner, campaign_id)
            assert row["queued"] == 30 - len(world.relay.accepted) > 0


async def test_a_batch_that_waits_for_the_rate_limit_keeps_no_connection_from_others(
    owner: Database, database_url: str, redis_url: str
) -> None:
    """One connection, and two organisations that may send one message a second each."""
    async with open_world(owner, database_url, redis_url, rate_org="1/second", smtp_connections="1") as world:
        long = await world.launch_to(*addresses(60))
        async with world.working():
            await world.relay.until(lambda: len(world.relay.accepted) >= 2)
            short = await world.launch_to("a@example.org", "b@example.org", org_id="another")
            row = await world.until_status(short, "SENT")
            assert (await campaign_row(owner, long))["status"] == "SENDING"
        assert row["delivered"] == 2


async def test_a_test_mail_counts_against_the_limit_and_waits_like_any_send(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, rate_org="2/hour") as world:
        campaign_id = await world.launch_to("a@example.com")

        async def ask() -> None:
            async with world.api.transactions(world.org_id) as tx:
                await request_test_mail(
                    tx,
                    world.api.job_queue,
                    actor=Actor(world.org_id, "me"),
                    campaign_id=campaign_id,
                    recipients=["me@example.com"],
                )

        async with world.working():
            await world.until_status(campaign_id, "SENT")
            await ask()
            await world.relay.until(lambda: len(world.relay.accepted) == 2)
            await ask()
            await world.sweep_until_idle()
        assert world.relay.recipients == {"a@example.com": 1, "me@example.com": 1}
        async with owner.transaction() as tx:
            waiting = await tx.connection.execute(
                text("SELECT count(*) FROM marketing_test_mails WHERE started_at IS NULL")
            )
            assert waiting.scalar_one() == 1
