"""Test mails, resends, and opt-outs that reach the CRM."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from marketing_service.campaigns import suppression_list
from marketing_service.campaigns.resend import resend
from marketing_service.campaigns.test_mails import request_test_mail
from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.store.audit import Actor
from marketing_service.tracking import Opens, opt_out, send_exists
from tests.support.ledger import assert_adds_up, campaign_row, draft
from tests.support.relay import Step, answer, hang_up
from tests.support.world import World, until

if TYPE_CHECKING:
    from uuid import UUID


async def _opt_out_in_crm(world: World, contact_id: str) -> bool:
    contact = await world.worker.audience.contact(world.org_id, contact_id)
    assert contact is not None
    return contact.marketing_opt_out


async def test_a_test_mail_is_labelled_has_no_pixel_and_is_not_counted(world: World) -> None:
    campaign_id = await draft(world.owner, org_id=world.org_id, subject="Hello {{firstName}}")
    async with world.api.transactions(world.org_id) as tx:
        await request_test_mail(
            tx,
            world.api.job_queue,
            actor=Actor(world.org_id, "someone"),
            campaign_id=campaign_id,
            recipients=["me@example.com", "you@example.com"],
        )
    async with world.working():
        await world.relay.until(lambda: len(world.relay.accepted) == 2)
    assert world.relay.recipients == {"me@example.com": 1, "you@example.com": 1}
    message = message_from_bytes(world.relay.accepted[0].content, policy=policy.default)
    assert str(message["Subject"]).startswith("[Test] Hello ")
    html = message.get_body(("html",))
    assert html is not None
    assert "pixel" not in html.get_content()
    row = await campaign_row(world.owner, campaign_id)
    assert (row["status"], row["recipients"]) == ("DRAFT", 0)


async def test_a_test_mail_leaves_out_an_address_that_was_suppressed_since_the_request(world: World) -> None:
    campaign_id = await draft(world.owner, org_id=world.org_id)
    async with world.api.transactions(world.org_id) as tx:
        await request_test_mail(
            tx,
            world.api.job_queue,
            actor=Actor(world.org_id, "someone"),
            campaign_id=campaign_id,
            recipients=["Me@example.com", "you@example.com"],
        )
    await suppression_list.add(
        world.api.transactions, actor=Actor(world.org_id, "someone"), email="me@example.com", note=None
    )
    async with world.working():
        await world.relay.until(lambda: len(world.relay.accepted) == 1)
    assert world.relay.recipients == {"you@example.com": 1}


async def test_a_test_mail_waits_for_a_relay_that_is_down(world: World) -> None:
    await world.relay.stop()
    campaign_id = await draft(world.owner, org_id=world.org_id)
    async with world.api.transactions(world.org_id) as tx:
        await request_test_mail(
            tx,
            world.api.job_queue,
            actor=Actor(world.org_id, "someone"),
            campaign_id=campaign_id,
            recipients=["me@example.com"],
        )
    async with world.working():
        await world.relay.start()
        await world.relay.until(lambda: len(world.relay.accepted) == 1)


async def test_only_failed_and_unconfirmed_sends_can_be_resent(world: World) -> None:
    world.relay.on(Step.RCPT, answer(550, "5.1.1 Unknown"), when=lambda now: "reject" in now.recipient, times=1)
    world.relay.on(Step.DOT, hang_up(), when=lambda now: "drop" in now.recipient, times=1)
    campaign_id = await world.launch()
    async with world.working():
        await world.until_status(campaign_id, "SENT")
        by_status: dict[str, dict[str, Any]] = {}
        for send in (await world.sends(campaign_id)).values():
            by_status.setdefault(send["status"], send)

        async def again(send_id: UUID) -> None:
            await resend(
                world.api.transactions,
                world.api.audience,
                actor=Actor(world.org_id, "someone"),
                campaign_id=campaign_id,
                send_id=send_id,
            )

        with pytest.raises(WrongState, match="DELIVERED"):
            await again(by_status["DELIVERED"]["id"])
        with pytest.raises(NotFound):
            await again(campaign_id)
        await again(by_status["FAILED"]["id"])
        await again(by_status["UNCONFIRMED"]["id"])
        await world.until_status(campaign_id, "SENT")
    row = await campaign_row(world.owner, campaign_id)
    assert (row["failed"], row["unconfirmed"]) == (0, 0)
    await assert_adds_up(world.owner, campaign_id)


async def test_a_contact_that_has_opted_out_or_cannot_be_looked_up_gets_no_resend(world: World) -> None:
    world.relay.on(Step.RCPT, answer(550, "5.1.1 Unknown"))
    campaign_id = await world.launch()
    async with world.working():
        await world.until_status(campaign_id, "SENT")
    failed = [send for send in (await world.sends(campaign_id)).values() if send["reason"] == "REJECTED"]

    async def again(send: dict[str, Any]) -> None:
        await resend(
            world.api.transactions,
            world.api.audience,
            actor=Actor(world.org_id, "someone"),
            campaign_id=campaign_id,
            send_id=send["id"],
        )

    assert await opt_out(world.api.transactions, world.api.job_queue, failed[0]["id"])
    with pytest.raises(WrongState, match="opted out"):
        await again(failed[0])
    await world.worker.audience.opt_out(world.org_id, failed[1]["contact_id"])
    with pytest.raises(WrongState, match="opted out"):
        await again(failed[1])
    world.crm.down()
    with pytest.raises(Unavailable):
        await again(failed[2])


async def test_an_opt_out_reaches_every_contact_of_the_address_when_the_crm_is_up_again(world: World) -> None:
    campaign_id = await world.launch()
    async with world.working():
        await world.until_status(campaign_id, "SENT")
        world.crm.down()
        sends = [send for send in (await world.sends(campaign_id)).values() if send["status"] == "DELIVERED"]
        assert await opt_out(world.api.transactions, world.api.job_queue, sends[0]["id"])

        async def pending() -> int:
            return (await world.api.stats()).opt_outs_pending

        assert await pending() == 1
        blocked = await world.launch()
        world.crm.up()

        async def written() -> bool:
            return await pending() == 0

        await until(written)
        assert await _opt_out_in_crm(world, sends[0]["contact_id"])
        await world.until_status(blocked, "SENT")
    assert sends[0]["email"] not in {
        send["email"] for send in (await world.sends(blocked)).values() if send["status"] == "DELIVERED"
    }


async def test_a_link_of_an_unknown_send_records_no_opt_out_and_no_open(world: World) -> None:
    campaign_id = await draft(world.owner)
    assert not await send_exists(world.api.transactions, campaign_id)
    assert not await opt_out(world.api.transactions, world.api.job_queue, campaign_id)
    await Opens(world.api.call, timeout=5).record(campaign_id, None)


async def test_the_role_of_the_api_sees_no_row_of_another_organisation(world: World) -> None:
    """Row-level security protects rows even if a statement has no condition on the organisation."""
    campaign_id = await world.launch_to("a@example.com")
    for org_id in (None, "globex"):
        async with world.api.transactions(org_id) as tx:
            for table in ("campaigns", "sends", "batches", "opt_outs", "test_mails"):
                found = await tx.connection.execute(text(f"SELECT count(*) FROM marketing_{table}"))
                assert found.scalar_one() == 0
    async with world.api.transactions(world.org_id) as tx:
        found = await tx.connection.execute(text("SELECT id FROM marketing_campaigns"))
        assert found.scalar_one() == campaign_id
