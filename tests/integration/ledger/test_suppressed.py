"""Suppressed addresses are skipped by the expansion, and again by the mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.tables import suppressions
from tests.support.ledger import ORG, assert_adds_up, audit_moves, illegal_moves, launched, send_rows
from tests.support.steps import claim, mark

if TYPE_CHECKING:
    from marketing_service.db import Database


async def _suppress(owner: Database, address: str, *, org_id: str = ORG) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(
            insert(suppressions).values(
                org_id=org_id, address=address, reason=SuppressionReason.MANUAL, origin=SuppressionOrigin.API
            )
        )


async def test_a_suppressed_address_is_inserted_as_skipped(owner: Database) -> None:
    await _suppress(owner, "person1@example.com")
    await _suppress(owner, "person0@example.com", org_id="another")
    campaign_id = await launched(owner, 3)
    assert [(row["status"], row["reason"]) for row in await send_rows(owner, campaign_id)] == [
        ("QUEUED", None),
        ("SKIPPED", "SUPPRESSED"),
        ("QUEUED", None),
    ]
    await assert_adds_up(owner, campaign_id)


async def test_an_address_suppressed_after_the_expansion_is_not_marked(owner: Database) -> None:
    await audit_moves(owner)
    campaign_id = await launched(owner, 2)
    held, waiting = await claim(owner, campaign_id)
    await _suppress(owner, waiting[0].email)
    step = await mark(owner, held, *waiting)
    assert set(step.marked) == {waiting[1].id}
    first, second = await send_rows(owner, campaign_id)
    assert (first["status"], first["reason"], first["attempts"]) == ("SKIPPED", "SUPPRESSED", 0)
    assert second["status"] == "SENDING"
    await assert_adds_up(owner, campaign_id)
    assert not await illegal_moves(owner)
