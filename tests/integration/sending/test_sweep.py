"""What the sweep does beside sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.idempotency import KeptAnswer, KeyedRequest, keep_answer
from marketing_service.worker.parts import Parts

if TYPE_CHECKING:
    from tests.support.world import World


async def test_answers_are_forgotten_after_a_day_and_not_before(world: World) -> None:
    async with world.owner.transaction() as tx:
        for key in ("old", "new"):
            request = KeyedRequest(world.org_id, key, "POST /", b"hash")
            await keep_answer(tx.connection, request, KeptAnswer(201, {}, b"{}"))
        await tx.connection.execute(
            text("UPDATE marketing_idempotency_keys SET created_at = now() - interval '25 h' WHERE key = 'old'")
        )
    await Parts.of(world.worker).sweep.sweep()
    async with world.owner.transaction() as tx:
        kept = (await tx.connection.execute(text("SELECT key FROM marketing_idempotency_keys"))).scalars().all()
    assert kept == ["new"]
