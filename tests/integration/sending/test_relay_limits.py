"""A relay that limits its clients: its limits are ours, so nobody's try is used up, and nobody fails for them."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.campaigns import drafts
from marketing_service.store.relay_pauses import Throttle, find_throttle
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.relay import Behaviour, Now, Relay, Step, answer, hang_up
from tests.support.world import World, open_world, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from uuid import UUID

    from marketing_service.db import Database


RECIPIENTS = [f"p{number}@d{number % 50}.example" for number in range(150)]


@pytest.fixture
async def world(owner: Database, database_url: str, redis_url: str) -> AsyncIterator[World]:
    async with open_world(owner, database_url, redis_url, smtp_connections="20", retry_delays="1,1,1,1,1") as opened:
        yield opened


async def assert_all_delivered(world: World, campaign_id: UUID, *, seconds: float = 90) -> None:
    """Everybody got the message once, at the first try, and the campaign never paused."""
    async with world.working():
        row = await world.until_status(campaign_id, "SENT", seconds=seconds)
    assert (row["delivered"], row["failed"], row["unconfirmed"]) == (len(RECIPIENTS), 0, 0)
    assert set(world.relay.recipients.values()) == {1}
    sends = await world.sends(campaign_id)
    assert {send["tries"] for send in sends.values()} == {1}, "no try is used up"
    await assert_adds_up(world.owner, campaign_id)


class PerConnection:
    """Counts a step on each connection; true from the `limit`-th + 1 on."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.seen: Counter[int] = Counter()

    def __call__(self, now: Now) -> bool:
        self.seen[now.connection] += 1
        return self.seen[now.connection] > self.limit


@pytest.mark.parametrize(
    ("step", "behaviour"),
    [
        (Step.DATA, answer(452, "4.4.5 Maximum number of messages per session exceeded.")),
        (Step.MAIL, answer(451, "4.4.5 Maximum number of messages per session exceeded.")),
        (Step.MAIL, answer(452, "4.5.3 Too many messages in this connection")),
        (Step.MAIL, answer(421, "4.4.5 Too many messages in this session", then=hang_up())),
        (Step.MAIL, answer(421, "Too many messages on this connection, closing", then=hang_up())),
    ],
    ids=["452 at DATA", "451 at MAIL", "452 4.5.3 at MAIL", "421 at MAIL", "421 without an enhanced code"],
)
async def test_a_connection_that_reaches_its_limit_is_replaced_at_once(
    world: World, step: Step, behaviour: Behaviour
) -> None:
    world.relay.on(step, behaviour, when=PerConnection(10))
    started = time.monotonic()
    await assert_all_delivered(world, await world.launch_to(*RECIPIENTS))
    assert world.relay.connections >= len(RECIPIENTS) / 10
    assert time.monotonic() - started < 60, "no retry delay is waited for"


async def test_a_relay_that_limits_messages_a_second_is_sent_less(world: World) -> None:
    window: list[float] = []

    def over_the_limit(_: Now) -> bool:
        now = time.monotonic()
        window[:] = [at for at in window if at > now - 1.0]
        window.append(now)
        return len(window) > 40

    world.relay.on(Step.MAIL, answer(450, "Rate limit exceeded"), when=over_the_limit)
    await assert_all_delivered(world, await world.launch_to(*RECIPIENTS))


async def test_a_relay_that_limits_open_connections_gets_fewer(world: World) -> None:
    refusal = answer(432, "4.3.2 Concurrent connections limit exceeded", then=hang_up())
    world.relay.on(Step.DOT, refusal, when=lambda _: world.relay.open > 3)
    await assert_all_delivered(world, await world.launch_to(*RECIPIENTS))
    assert world.relay.connections < 60


async def test_a_relay_that_refuses_further_connections_is_used_with_those_it_allows(world: World) -> None:
    refusal = answer(421, "4.7.0 Error: too many connections from 192.0.2.10", then=hang_up())
    world.relay.on(Step.BANNER, refusal, when=lambda _: world.relay.open > 5)
    await assert_all_delivered(world, await world.launch_to(*RECIPIENTS))
    assert world.relay.connections < 40, "a refused connection is not tried again and again"


async def test_the_campaign_shows_what_it_is_throttled_to_until_the_relay_accepts_again(world: World) -> None:
    """Also while it waits for the relay, and no batch of it is in work."""
    refusal = answer(450, "4.7.1 Error: too much mail from 192.0.2.10")
    world.relay.on(Step.MAIL, refusal, when=lambda _: len(world.relay.accepted) >= 30)
    campaign_id = await world.launch_to(*RECIPIENTS)

    reports: set[datetime] = set()

    async def reported_while_no_batch_is_in_work() -> bool:
        """Each report has another time."""
        async with world.worker.transactions() as tx:
            leased = await tx.connection.execute(text("SELECT 1 FROM marketing_batches WHERE lease_until IS NOT NULL"))
            found = await tx.connection.execute(text("SELECT updated_at FROM marketing_relay_throttles"))
            if not leased.all():
                reports.update(found.scalars())
        return len(reports) >= 3

    async def throttle() -> Throttle | None:
        async with world.api.transactions(world.org_id) as tx:
            return await find_throttle(tx.connection, org_id=world.org_id, campaign_id=campaign_id)

    async with world.working():
        await until(reported_while_no_batch_is_in_work)
        found = await throttle()
        assert found is not None
        assert found.connections < 20
        world.relay.behave()
        await world.until_status(campaign_id, "SENT")

        async def is_over() -> bool:
            return await throttle() is None

        await until(is_over)


async def paused_with(world: World, campaign_id: UUID, reason: str) -> dict[str, Any]:
    row: dict[str, Any] = {}

    async def paused() -> bool:
        row.update(await campaign_row(world.owner, campaign_id))
        return bool(row["pause_reason"] == reason)

    await until(paused, seconds=30)
    return row


async def test_a_used_up_quota_pauses_the_campaign_which_resumes_when_the_relay_accepts_again(world: World) -> None:
    quota = answer(454, "Throttling failure: Daily message quota exceeded.")
    world.relay.on(Step.DOT, quota, when=lambda _: len(world.relay.accepted) >= 60)
    campaign_id = await world.launch_to(*RECIPIENTS)
    async with world.working():
        await paused_with(world, campaign_id, "RELAY_QUOTA")
        async with world.api.transactions(world.org_id) as tx:
            campaign = await drafts.get(tx, world.org_id, campaign_id)
        assert campaign.pause_message == "Throttling failure: Daily message quota exceeded."
        world.relay.behave()
        row = await world.until_status(campaign_id, "SENT", seconds=60)
    assert (row["delivered"], row["failed"]) == (len(RECIPIENTS), 0)
    assert {send["tries"] for send in (await world.sends(campaign_id)).values()} == {1}
    await assert_adds_up(world.owner, campaign_id)


async def test_a_message_that_is_too_large_pauses_the_campaign_and_fails_nobody(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url) as world:
        world.relay.on(Step.MAIL, answer(552, "5.3.4 Message size exceeds fixed limit"))
        campaign_id = await world.launch_to("a@example.com", "b@example.com")
        async with world.working():
            await paused_with(world, campaign_id, "MESSAGE_TOO_LARGE")
            await world.sweep()
        row = await campaign_row(world.owner, campaign_id)
        assert (row["failed"], row["pause_reason"]) == (0, "MESSAGE_TOO_LARGE"), "only a person resumes it"


async def test_a_message_above_the_advertised_size_is_not_sent_at_all(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with Relay(size=900) as small, open_world(owner, database_url, redis_url, smtp_url=small.url) as world:
        campaign_id = await world.launch_to("a@example.com")
        async with world.working():
            await paused_with(world, campaign_id, "MESSAGE_TOO_LARGE")
        assert not any(command.startswith("MAIL") for _, command in small.commands)


async def test_a_refused_log_in_is_tried_by_one_connection_and_named(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with Relay(tls="starttls", credentials=("user", "secret")) as relay:
        refusal = answer(535, "5.7.139 Authentication unsuccessful, the user credentials were incorrect.")
        relay.on(Step.AUTH, refusal)
        async with open_world(owner, database_url, redis_url, smtp_url=relay.url, smtp_connections="20") as world:
            campaign_id = await world.launch_to(*RECIPIENTS)
            async with world.working():
                await paused_with(world, campaign_id, "RELAY_LOGIN_REFUSED")
                attempts = relay.connections
                assert attempts <= 2, "one log-in is tried first"
                relay.behave()
                row = await world.until_status(campaign_id, "SENT", seconds=60)
            assert row["delivered"] == len(RECIPIENTS)


async def test_a_refused_sender_is_probed_at_growing_intervals(world: World) -> None:
    world.relay.on(Step.MAIL, answer(450, "4.1.8 <news@acme.example>: Sender address rejected: Domain not found"))
    campaign_id = await world.launch_to("a@example.com", "b@example.com")
    async with world.working():
        await paused_with(world, campaign_id, "RELAY_REFUSES_SENDER")

        async def probed_three_times() -> bool:
            return len(probes()) >= 3

        def probes() -> list[int]:
            mails = [connection for connection, command in world.relay.commands if command.startswith("MAIL")]
            return sorted(set(mails))

        await until(probed_three_times, seconds=30)
        world.relay.behave()
        row = await world.until_status(campaign_id, "SENT", seconds=60)
    assert (row["delivered"], row["failed"]) == (2, 0)
