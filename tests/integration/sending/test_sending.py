"""From a launch to messages at the relay, and the outcome of each reply."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING

import pytest

from marketing_service.ledger import lifecycle
from tests.support.ledger import assert_adds_up, audit_moves, campaign_row, illegal_moves, send_rows
from tests.support.relay import Step, answer, call, delay, hang_up
from tests.support.world import World, open_world, until

if TYPE_CHECKING:
    from marketing_service.db import Database


async def test_every_eligible_contact_gets_one_message_with_their_name(world: World) -> None:
    await audit_moves(world.owner)
    campaign_id = await world.launch()
    async with world.working():
        row = await world.until_status(campaign_id, "SENT")
    counters = await assert_adds_up(world.owner, campaign_id)
    delivered = [row for row in await send_rows(world.owner, campaign_id) if row["status"] == "DELIVERED"]
    assert counters["delivered"] == len(delivered) > 20
    assert counters["skipped"] == 1, "two of the cast have one address"
    assert world.relay.recipients == {row["email"]: 1 for row in delivered}
    assert row["sent_at"] is not None
    assert await illegal_moves(world.owner) == set()
    by_email = {row["email"]: row for row in delivered}
    for accepted in world.relay.accepted:
        message = message_from_bytes(accepted.content, policy=policy.default)
        assert accepted.recipients[0] in str(message["To"])
        assert str(by_email[accepted.recipients[0]]["first_name"] or "") in str(message["Subject"])


async def test_a_4xx_is_tried_again_by_the_schedule_and_fails_after_the_last_try(world: World) -> None:
    """`twice` is accepted at its third and last try; `always` is not. Message-ID and Date are the same each time."""
    await audit_moves(world.owner)
    later = answer(451, "4.7.1 Greylisted")
    world.relay.on(Step.DOT, later, when=lambda now: now.recipient == "twice@example.com", times=2)
    world.relay.on(Step.RCPT, later, when=lambda now: now.recipient == "always@example.com")
    campaign_id = await world.launch_to("always@example.com", "twice@example.com")
    async with world.working():
        await world.until_status(campaign_id, "SENT")
    sends = await world.sends(campaign_id)
    failed, delivered = sends["always@example.com"], sends["twice@example.com"]
    assert (failed["status"], failed["reason"], failed["attempts"]) == ("FAILED", "DEFERRED_TOO_OFTEN", 3)
    assert (failed["smtp_code"], failed["enhanced_code"]) == (451, "4.7.1")
    assert (delivered["status"], delivered["attempts"], delivered["smtp_code"]) == ("DELIVERED", 3, None)
    assert world.relay.recipients == {"twice@example.com": 1}
    assert await illegal_moves(world.owner) == set()


async def test_a_5xx_fails_its_own_send_with_its_code_and_no_other(world: World) -> None:
    world.relay.on(Step.RCPT, answer(550, "5.1.1 No such user"), when=lambda now: now.recipient == "no@example.com")
    campaign_id = await world.launch_to("no@example.com", "a@example.com", "b@example.com")
    async with world.working():
        await world.until_status(campaign_id, "SENT")
    sends = await world.sends(campaign_id)
    assert (sends["no@example.com"]["status"], sends["no@example.com"]["reason"]) == ("FAILED", "REJECTED")
    assert (sends["no@example.com"]["smtp_code"], sends["no@example.com"]["enhanced_code"]) == (550, "5.1.1")
    assert world.relay.recipients == {"a@example.com": 1, "b@example.com": 1}


async def test_a_connection_lost_after_the_final_dot_makes_an_unconfirmed_send(world: World) -> None:
    world.relay.on(Step.DOT, hang_up(accepting=True), when=lambda now: now.recipient == "drop@example.com", times=1)
    campaign_id = await world.launch_to("drop@example.com", "a@example.com", "b@example.com")
    async with world.working():
        row = await world.until_status(campaign_id, "SENT")
    assert (row["unconfirmed"], row["delivered"]) == (1, 2)
    assert (await world.sends(campaign_id))["drop@example.com"]["status"] == "UNCONFIRMED"
    assert set(world.relay.recipients.values()) == {1}


async def test_under_the_policy_resend_an_unconfirmed_send_goes_out_again(
    owner: Database, database_url: str, redis_url: str
) -> None:
    async with open_world(owner, database_url, redis_url, ambiguous_sends="resend") as world:
        world.relay.on(Step.DOT, hang_up(accepting=True), times=1)
        campaign_id = await world.launch_to("a@example.com")
        async with world.working():
            row = await world.until_status(campaign_id, "SENT")
        assert (row["unconfirmed"], row["delivered"]) == (0, 1)
        assert world.relay.recipients == {"a@example.com": 2}
        assert (await world.sends(campaign_id))["a@example.com"]["unconfirmed_at"] is not None


@pytest.mark.parametrize("step", [Step.MAIL, Step.RCPT, Step.DATA])
async def test_a_connection_lost_before_the_final_dot_uses_no_try_and_doubles_nothing(world: World, step: Step) -> None:
    world.relay.on(step, hang_up(), times=2)
    campaign_id = await world.launch_to(*(f"p{number}@example.com" for number in range(12)))
    async with world.working():
        row = await world.until_status(campaign_id, "SENT")
    assert row["delivered"] == 12
    assert set(world.relay.recipients.values()) == {1}
    assert {send["attempts"] for send in (await world.sends(campaign_id)).values()} == {1}


async def test_a_message_the_relay_always_hangs_up_on_fails_like_a_deferred_one(world: World) -> None:
    world.relay.on(Step.RCPT, hang_up(), when=lambda now: now.recipient == "poison@example.com")
    campaign_id = await world.launch_to("poison@example.com", "a@example.com")
    async with world.working():
        row = await world.until_status(campaign_id, "SENT")
    assert (row["delivered"], row["failed"]) == (1, 1)
    poison = (await world.sends(campaign_id))["poison@example.com"]
    assert (poison["reason"], poison["attempts"]) == ("DEFERRED_TOO_OFTEN", 3)


async def test_a_relay_that_is_down_pauses_the_campaign_uses_no_try_and_the_campaign_resumes_by_itself(
    world: World,
) -> None:
    await world.relay.stop()
    campaign_id = await world.launch_to("a@example.com", "b@example.com")

    async def paused() -> bool:
        return bool((await campaign_row(world.owner, campaign_id))["pause_reason"] == "RELAY_DOWN")

    async with world.working():
        await until(paused)
        assert {(s["status"], s["attempts"]) for s in (await world.sends(campaign_id)).values()} == {("QUEUED", 0)}
        await world.relay.start()
        row = await world.until_status(campaign_id, "SENT")
    assert (row["delivered"], row["paused_at"]) == (2, None)
    assert {send["attempts"] for send in (await world.sends(campaign_id)).values()} == {1}


async def test_a_relay_that_refuses_the_sender_pauses_the_campaign_and_fails_no_send(world: World) -> None:
    world.relay.on(Step.MAIL, answer(550, "5.7.1 Sender not allowed"))
    campaign_id = await world.launch_to("a@example.com", "b@example.com")

    async def paused() -> bool:
        return bool((await campaign_row(world.owner, campaign_id))["pause_reason"] == "RELAY_REFUSES_SENDER")

    async with world.working():
        await until(paused)
        world.relay.behave()
        row = await world.until_status(campaign_id, "SENT")
    assert (row["delivered"], row["failed"]) == (2, 0)
    assert {send["attempts"] for send in (await world.sends(campaign_id)).values()} == {1}


async def test_after_the_response_to_a_pause_at_most_the_marked_sends_leave(world: World) -> None:
    """The relay replies to nothing between its 21st message and the pause: the sends cannot outrun a slow pause."""
    world.relay.on(Step.DOT, call(lambda _: world.relay.pause()), nth=21)
    campaign_id = await world.launch_to(*(f"p{number}@example.com" for number in range(250)))
    async with world.working():
        await world.relay.until(lambda: world.relay.paused)
        async with world.api.transactions(world.org_id) as tx:
            assert await lifecycle.pause(tx.connection, campaign_id, lifecycle.PauseReason.USER)
        marked = (await campaign_row(world.owner, campaign_id))["sending"]
        accepted = len(world.relay.accepted)
        assert marked <= 2 * world.settings.smtp_connections
        world.relay.resume()

        async def settled() -> bool:
            return bool((await campaign_row(world.owner, campaign_id))["sending"] == 0)

        await until(settled)
        await world.until_idle()
        assert len(world.relay.accepted) <= accepted + 2 * world.settings.smtp_connections
        assert (await campaign_row(world.owner, campaign_id))["queued"] > 0
        async with world.api.transactions(world.org_id) as tx:
            assert await lifecycle.resume(tx.connection, campaign_id)
        row = await world.until_status(campaign_id, "SENT")
    assert row["delivered"] == 250
    assert set(world.relay.recipients.values()) == {1}


async def test_a_drain_finishes_what_is_on_the_wire_and_releases_the_other_sends(world: World) -> None:
    world.relay.on(Step.DOT, delay(0.05))
    campaign_id = await world.launch_to(*(f"p{number}@example.com" for number in range(150)))
    async with world.working() as stop:
        await world.relay.until(lambda: len(world.relay.accepted) > 10)
        stop.set()
    row = await campaign_row(world.owner, campaign_id)
    assert (row["sending"], row["unconfirmed"]) == (0, 0)
    assert row["delivered"] == len(world.relay.accepted) < 150
    world.relay.behave()
    async with world.working():
        row = await world.until_status(campaign_id, "SENT")
    assert row["delivered"] == 150
    assert set(world.relay.recipients.values()) == {1}


async def test_losing_every_key_in_redis_loses_nothing(world: World) -> None:
    world.relay.on(Step.DOT, delay(0.02))
    campaign_id = await world.launch_to(*(f"p{number}@example.com" for number in range(1200)))
    async with world.working():
        await world.relay.until(lambda: len(world.relay.accepted) > 50)
        await world.redis.flushall()
        world.relay.behave()
        row = await world.until_status(campaign_id, "SENT")
    assert row["delivered"] == 1200
    assert set(world.relay.recipients.values()) == {1}
    await assert_adds_up(world.owner, campaign_id)


async def test_a_sender_that_is_refused_for_the_last_recipient_pauses_the_campaign(world: World) -> None:
    """No other recipient is left that shows whether the sender or that recipient is refused: the campaign is paused."""
    unknown = ("a@example.com", "b@example.com")
    world.relay.on(Step.RCPT, answer(550, "5.1.1 No such user"), when=lambda now: now.recipient in unknown)
    world.relay.on(Step.RCPT, answer(550, "5.7.60 You may not send as this sender"))
    campaign_id = await world.launch_to(*unknown, "c@example.com")

    async def paused() -> bool:
        return bool((await campaign_row(world.owner, campaign_id))["pause_reason"] == "RELAY_REFUSES_SENDER")

    async with world.working():
        await until(paused)
        world.relay.behave()
        row = await world.until_status(campaign_id, "SENT")
    assert (row["delivered"], row["failed"]) == (1, 2)
