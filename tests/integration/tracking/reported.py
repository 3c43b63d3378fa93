"""Delivered sends, and reports about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from marketing_service.store.states import SendStatus
from marketing_service.tracking import ReportHandler
from tests.support.ledger import contact, launched, send_rows
from tests.support.reports import ADDRESSES, KEYRING
from tests.support.steps import claim, deliver_all, mark, record, release

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Database
    from marketing_service.tracking import Handled
    from tests.support.world import World

ANN = "ann@example.com"


def handler_of(world: World, *, soft_bounces: int = 3) -> ReportHandler:
    worker = world.worker
    return ReportHandler(
        worker.transactions, worker.job_queue, tokens=KEYRING, addresses=ADDRESSES, soft_bounces=soft_bounces
    )


async def delivered(owner: Database, email: str = ANN, **values: Any) -> tuple[UUID, dict[str, Any]]:
    """A campaign to one address, delivered."""
    campaign_id = await launched(owner, [contact(1, email=email, address=email.lower())], **values)
    await deliver_all(owner, campaign_id)
    return campaign_id, (await send_rows(owner, campaign_id))[0]


async def unconfirmed(owner: Database) -> tuple[UUID, dict[str, Any]]:
    campaign_id = await launched(owner, [contact(1, email=ANN, address=ANN)])
    held, waiting = await claim(owner, campaign_id)
    step = await mark(owner, held, *waiting)
    for marked in step.marked.values():
        await record(owner, held, marked, SendStatus.UNCONFIRMED)
    await release(owner, held)
    return campaign_id, (await send_rows(owner, campaign_id))[0]


async def about(handler: ReportHandler, send: dict[str, Any], raw: bytes, *, attempt: int = 1) -> Handled:
    return await handler.handle(ADDRESSES.of(send["id"], attempt), raw)


async def suppressions(owner: Database) -> list[dict[str, Any]]:
    async with owner.transaction() as tx:
        rows = await tx.connection.execute(text("SELECT * FROM marketing_suppressions ORDER BY id"))
        return [dict(row) for row in rows.mappings()]
