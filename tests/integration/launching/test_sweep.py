"""What the sweep does, apart from sending."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.ledger import lifecycle
from marketing_service.ledger.lifecycle import PauseReason, probe_schedules
from marketing_service.sending.leases import Leases
from marketing_service.store.batches import BATCH_SIZE
from marketing_service.store.idempotency import KeyedRequest, StoredResponse, store_response
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.steps import claim, let_leases_run_out, mark
from tests.support.world import until

if TYPE_CHECKING:
    from tests.support.world import World


async def test_stored_responses_are_deleted_after_a_day_and_not_before(world: World) -> None:
    async with world.owner.transaction() as tx:
        for key in ("old", "new"):
            request = KeyedRequest(world.org_id, key, "POST /", b"hash")
            await store_response(tx.connection, request, StoredResponse(201, {}, b"{}"))
        await tx.connection.execute(
            text("UPDATE marketing_idempotency_keys SET created_at = now() - interval '25 h' WHERE key = 'old'")
        )
    await WorkerDependencies.of(world.worker).sweep.sweep()
    async with world.owner.transaction() as tx:
        kept = (await tx.connection.execute(text("SELECT key FROM marketing_idempotency_keys"))).scalars().all()
    assert kept == ["new"]


@pytest.mark.parametrize(("policy", "status"), [("hold", "UNCONFIRMED"), ("resend", "QUEUED")])
async def test_marked_sends_of_a_dead_process_are_settled_and_the_others_are_queued_again(
    world: World, policy: str, status: str
) -> None:
    campaign_id = await world.launch_to("a@example.com", "b@example.com")
    held, waiting = await claim(world.owner, campaign_id)
    await mark(world.owner, held, waiting[0])
    await let_leases_run_out(world.owner)
    settings = world.settings.model_copy(update={"ambiguous_sends": policy})
    await WorkerDependencies.of(replace(world.worker, settings=settings)).sweep.sweep()
    sends = await world.sends(campaign_id)
    assert [sends[email]["status"] for email in ("a@example.com", "b@example.com")] == [status, "QUEUED"]
    assert sends["a@example.com"]["unconfirmed_at"], "the row must record that the recipient may have got the message"
    await assert_adds_up(world.owner, campaign_id)


async def test_a_campaign_paused_by_the_relay_resumes_after_a_successful_probe(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com")
    async with world.owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, PauseReason.RELAY_DOWN, probes=probe_schedules(0.001))
    sweep = WorkerDependencies.of(world.worker).sweep
    await world.relay.stop()
    await sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["pause_reason"] == "RELAY_DOWN"
    await world.relay.start()

    async def resumed() -> bool:
        await sweep.sweep()
        return (await campaign_row(world.owner, campaign_id))["paused_at"] is None

    await until(resumed)


async def test_the_sweep_does_not_resume_a_campaign_paused_by_a_user(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com")
    async with world.owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, PauseReason.USER)
    await WorkerDependencies.of(world.worker).sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["pause_reason"] == "USER"


async def test_the_sweep_skips_the_sends_that_a_cancel_did_not_reach(world: World) -> None:
    campaign_id = await world.launch_to(*(f"a{number}@example.com" for number in range(BATCH_SIZE + 1)))
    async with world.owner.transaction() as tx:
        assert await lifecycle.cancel(tx.connection, campaign_id)
        assert await lifecycle.skip_cancelled(tx.connection, campaign_id, limit=1) == BATCH_SIZE
    await WorkerDependencies.of(world.worker).sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["status"] == "SENT"
    assert {row["reason"] for row in (await world.sends(campaign_id)).values()} == {"CANCELLED"}
    await assert_adds_up(world.owner, campaign_id)


async def test_the_owner_of_an_expired_lease_is_notified(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com")
    held, _ = await claim(world.owner, campaign_id)
    leases = Leases(world.worker.transactions, seconds=60)
    lost: list[str] = []
    await leases.renew()
    with leases.kept(held, lambda: lost.append("lost")):
        await leases.renew()
        assert not lost
        await let_leases_run_out(world.owner)
        await WorkerDependencies.of(world.worker).sweep.sweep()
        await leases.renew()
    assert lost == ["lost"]
