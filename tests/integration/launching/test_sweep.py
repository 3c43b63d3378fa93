"""What the sweep does beside sending."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from marketing_service.ledger import lifecycle
from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.sending.leases import Leases
from marketing_service.store.idempotency import KeyedRequest, StoredResponse, store_response
from marketing_service.worker.dependencies import WorkerDependencies
from tests.support.ledger import assert_adds_up, campaign_row
from tests.support.steps import claim, let_leases_run_out, mark

if TYPE_CHECKING:
    from tests.support.world import World


async def test_answers_are_forgotten_after_a_day_and_not_before(world: World) -> None:
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
async def test_what_a_dead_process_had_marked_is_unknown_and_the_rest_is_rung_again(
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
    assert sends["a@example.com"]["unconfirmed_at"], "it stays on record that somebody may have got it"
    await assert_adds_up(world.owner, campaign_id)


async def test_a_campaign_held_by_the_relay_goes_on_once_a_probe_gets_through(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com")
    async with world.owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, PauseReason.RELAY_DOWN)
    sweep = WorkerDependencies.of(world.worker).sweep
    await world.relay.stop()
    await sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["pause_reason"] == "RELAY_DOWN"
    await world.relay.start()
    await sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["paused_at"] is None


async def test_a_persons_pause_is_not_the_sweeps_to_lift(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com")
    async with world.owner.transaction() as tx:
        assert await lifecycle.pause(tx.connection, campaign_id, PauseReason.USER)
    await WorkerDependencies.of(world.worker).sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["pause_reason"] == "USER"


async def test_what_a_cancel_left_because_it_was_too_much_at_once_is_skipped(world: World) -> None:
    campaign_id = await world.launch_to("a@example.com", "b@example.com")
    async with world.owner.transaction() as tx:
        assert await lifecycle.cancel(tx.connection, campaign_id)
        # As if it had been cut off behind the first.
        await tx.connection.execute(
            text("UPDATE marketing_sends SET status = 'QUEUED', reason = NULL WHERE email = 'b@example.com'")
        )
        await tx.connection.execute(
            text("UPDATE marketing_campaigns SET status = 'SENDING', queued = 1, skipped = 1, sent_at = NULL")
        )
    await WorkerDependencies.of(world.worker).sweep.sweep()
    assert (await campaign_row(world.owner, campaign_id))["status"] == "SENT"
    assert (await world.sends(campaign_id))["b@example.com"]["reason"] == "CANCELLED"
    await assert_adds_up(world.owner, campaign_id)


async def test_whoever_loses_a_lease_is_told(world: World) -> None:
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
