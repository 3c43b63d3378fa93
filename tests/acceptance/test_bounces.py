"""Bounces of a real Postfix: each report reaches its own send through the LMTP listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from marketing_service.devstack.process import free_port
from tests.support.ledger import assert_adds_up, audit_moves, illegal_moves
from tests.support.listeners import listener
from tests.support.postfix import missing, postfix
from tests.support.relay import Now, Step, answer
from tests.support.reports import ADDRESSES, KEY
from tests.support.workers import worker_environment
from tests.support.world import open_world, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.db import Database
    from tests.support.relay import Relay

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

FINE, GONE, FULL, STAYS_FULL, REFUSING = (
    f"{name}@example.net" for name in ("fine", "gone", "full", "stays-full", "refusing")
)
EXPECTED = {
    GONE: ("FAILED", "BOUNCED_HARD", 550, "5.1.1"),
    FULL: ("FAILED", "BOUNCED_SOFT", 552, "5.2.2"),
    STAYS_FULL: ("FAILED", "BOUNCED_SOFT", 452, "4.2.2"),
    REFUSING: ("FAILED", "BOUNCED_SOFT", 554, "5.7.1"),
    FINE: ("DELIVERED", None, None, None),
}


def script(next_hop: Relay) -> None:
    """Set the replies of the recipients' servers to the relay."""

    def to(address: str) -> Callable[[Now], bool]:
        return lambda now: address in (now.recipient, *now.recipients)

    unknown = "5.1.1 <gone@example.net>: Recipient address rejected: User unknown"
    next_hop.on(Step.RCPT, answer(550, unknown), when=to(GONE))
    next_hop.on(Step.RCPT, answer(452, "4.2.2 <stays-full@example.net>: Over quota"), when=to(STAYS_FULL))
    next_hop.on(Step.DOT, answer(552, "5.2.2 Mailbox full"), when=to(FULL))
    next_hop.on(Step.DOT, answer(554, "5.7.1 Message refused as unwanted"), when=to(REFUSING))


async def test_bounces_of_a_real_relay_reach_their_sends(owner: Database, database_url: str, redis_url: str) -> None:
    await audit_moves(owner)
    port = free_port()
    relay, domain = f"smtp://127.0.0.1:{port}", ADDRESSES.domain
    listener_environment = worker_environment(
        database_url=database_url, redis_url=redis_url, smtp_url=relay, bounce_domain=domain, token_keys=KEY,
        log_level="INFO",
    )  # fmt: skip
    async with (
        open_world(owner, database_url, redis_url, smtp_url=relay, bounce_domain=domain) as world,
        listener(listener_environment) as (_, lmtp),
        postfix(port=port, next_hop=world.relay.port, listener=lmtp, bounce_domain=domain) as log,
    ):
        script(world.relay)
        campaign_id = await world.launch_to(*EXPECTED)
        async with world.working():
            await world.until_status(campaign_id, "SENT")

        async def all_reported() -> bool:
            sends = await world.sends(campaign_id)
            return all(sends[email]["status"] == expected[0] for email, expected in EXPECTED.items())

        try:
            await until(all_reported)
        except AssertionError:
            pytest.fail(log.read_text())
        sends = await world.sends(campaign_id)
        assert {
            email: (send["status"], send["reason"], send["smtp_code"], send["enhanced_code"])
            for email, send in sends.items()
        } == EXPECTED
        assert "User unknown" in sends[GONE]["error_message"]
        counters = await assert_adds_up(owner, campaign_id)
        assert (counters["delivered"], counters["failed"]) == (1, 4)
        assert (counters["hard_bounces"], counters["soft_bounces"]) == (1, 3)
        assert {message.sender for message in world.relay.accepted} == {ADDRESSES.of(sends[FINE]["id"], 1)}

        # An address that does not exist is not mailed again. A full mailbox, or one that refused a message, is.
        again = await world.launch_to(*EXPECTED)
        skipped = {email: send["reason"] for email, send in (await world.sends(again)).items() if send["reason"]}
        assert skipped == {GONE: "SUPPRESSED"}
    assert not await illegal_moves(owner)
