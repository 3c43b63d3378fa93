"""The steps of a worker on the ledger, without a relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.ledger import commit_results, reconcile
from marketing_service.store import batches
from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.ledger.commit_results import CommitResult, MarkedSend
    from marketing_service.store.batches import Claim, WaitingSend


async def claim(
    owner: Database, campaign_id: UUID, number: int = 0, *, lease: float = 60
) -> tuple[Claim, list[WaitingSend]]:
    async with owner.transaction() as tx:
        claimed = await batches.claim_batch(tx.connection, campaign_id, number, lease=lease)
    assert claimed is not None
    return claimed


async def mark(owner: Database, held: Claim, *sends: WaitingSend) -> CommitResult:
    to_mark = [(held, send) for send in sends]
    return await commit_results.commit_results(owner.call, held.campaign_id, results=[], to_mark=to_mark)


async def record(
    owner: Database,
    held: Claim,
    marked: MarkedSend,
    status: SendStatus,
    *,
    resend_ambiguous: bool = False,
    **values: Any,
) -> CommitResult:
    async with owner.transaction() as tx:
        return await commit_results.record(
            tx.connection,
            held.campaign_id,
            results=[commit_results.SendResult(held, marked.send.id, marked.attempt, status, **values)],
            resend_ambiguous=resend_ambiguous,
        )


async def release(owner: Database, held: Claim) -> None:
    async with owner.transaction() as tx:
        await batches.release_batch(tx.connection, held)


async def let_leases_run_out(owner: Database) -> None:
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text("UPDATE marketing_batches SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
        )


async def deliver_all(owner: Database, campaign_id: UUID, number: int = 0) -> None:
    held, waiting = await claim(owner, campaign_id, number)
    step = await mark(owner, held, *waiting)
    for marked in step.marked.values():
        await record(owner, held, marked, SendStatus.DELIVERED)
    await release(owner, held)


async def settle_as(owner: Database, campaign_id: UUID, status: str, reason: str = "'REJECTED'") -> None:
    """Put the sends of the campaign into other states at once, and correct the counters; both are SQL expressions.
    Sends that are QUEUED are due; others are in no batch."""
    async with owner.transaction() as tx:
        await tx.connection.execute(
            text(
                f"UPDATE marketing_sends s SET status = n.status, batch = NULL,"
                f" reason = CASE WHEN n.status = 'FAILED' THEN {reason} END,"
                f" due_at = CASE WHEN n.status = 'QUEUED' THEN now() END"
                f" FROM (SELECT id, {status} AS status FROM marketing_sends WHERE campaign_id = :id) AS n"
                f" WHERE s.id = n.id"
            ),
            {"id": campaign_id},
        )
        await tx.connection.execute(text("DELETE FROM marketing_batches WHERE campaign_id = :id"), {"id": campaign_id})
        await reconcile.correct(tx.connection, campaign_id)
        # The timeline has at least as many deliveries as there are now.
        await tx.connection.execute(
            text(
                "INSERT INTO marketing_timeline (org_id, campaign_id, minute, delivered)"
                " SELECT org_id, id, date_trunc('minute', now()), delivered FROM marketing_campaigns WHERE id = :id"
                " ON CONFLICT (campaign_id, minute) DO UPDATE SET delivered = excluded.delivered"
            ),
            {"id": campaign_id},
        )
