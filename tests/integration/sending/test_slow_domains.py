"""A receiving domain that defers several sends in a row backs off; the other domains do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.sending.throttle import MAX_CONSECUTIVE_DEFERRALS
from tests.support.ledger import assert_adds_up, audit_moves, illegal_moves
from tests.support.relay import Now, Step, answer
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from marketing_service.db import Database

SLOW = [f"p{number}@slow.example" for number in range(40)]
OTHERS = [f"p{number}@example.com" for number in range(80)]
LATER = answer(451, "4.7.1 Server busy, try again later")


def is_slow(now: Now) -> bool:
    return now.recipient.endswith("@slow.example")


async def test_a_domain_that_backs_off_slows_no_other_and_a_postponed_send_uses_no_try(
    owner: Database, database_url: str, redis_url: str
) -> None:
    settings = {"domain_backoff_seconds": "3600", "retry_delays": "3600"}
    async with open_world(owner, database_url, redis_url, contacts=40, **settings) as world:
        await audit_moves(owner)
        world.relay.on(Step.RCPT, LATER, when=is_slow)
        mixed = [email for pair in zip(SLOW, OTHERS, strict=False) for email in pair]
        campaign_id = await world.launch_to(*mixed, *OTHERS[len(SLOW) :])
        async with world.working():

            async def settled() -> bool:
                sends = await world.sends(campaign_id)
                return all(sends[email]["status"] == "DELIVERED" for email in OTHERS) and all(
                    sends[email]["due_at"] is not None for email in SLOW
                )

            await until(settled)
        sends = await world.sends(campaign_id)
        tried = [email for email in SLOW if sends[email]["status"] == "DEFERRED"]
        postponed = [email for email in SLOW if sends[email]["status"] == "QUEUED"]
        assert len(tried) + len(postponed) == len(SLOW)
        assert (
            MAX_CONSECUTIVE_DEFERRALS <= len(tried) <= MAX_CONSECUTIVE_DEFERRALS + 2 * world.settings.smtp_connections
        )
        assert {(sends[email]["attempts"], sends[email]["batch"]) for email in postponed} == {(0, None)}
        await assert_adds_up(owner, campaign_id)
        assert await illegal_moves(owner) == set()


async def test_a_domain_recovers_and_each_refusal_uses_one_try_and_no_more(
    owner: Database, database_url: str, redis_url: str
) -> None:
    settings = {"domain_backoff_seconds": "0.05", "retry_delays": "0.2,0.2,0.2,0.2"}
    async with open_world(owner, database_url, redis_url, contacts=40, **settings) as world:
        world.relay.on(Step.RCPT, LATER, when=is_slow, times=9)
        campaign_id = await world.launch_to(*SLOW, *OTHERS)
        async with world.working():
            row = await world.until_status(campaign_id, "SENT", seconds=90)
        assert row["delivered"] == len(SLOW) + len(OTHERS)
        assert set(world.relay.recipients.values()) == {1}
        attempts = sum(send["attempts"] for send in (await world.sends(campaign_id)).values())
        assert attempts == len(SLOW) + len(OTHERS) + 9
