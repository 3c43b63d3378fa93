"""Totals over every organisation, for /metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class LedgerStats:
    """How many sends are in each state, how late the oldest due send is (seconds), and how many opt-outs the CRM does
    not have yet."""

    sends_by_status: dict[SendStatus, int]
    oldest_due_seconds: float
    opt_outs_pending: int


_STATS = text("SELECT * FROM marketing_ledger_stats_v1()")


async def ledger_stats(connection: AsyncConnection) -> LedgerStats:
    """The totals now. The cost grows with the number of campaigns, not with the number of sends."""
    row = (await connection.execute(_STATS)).mappings().one()
    return LedgerStats(
        sends_by_status={status: row[status.value.lower()] for status in SendStatus},
        oldest_due_seconds=max(0.0, row["oldest_due_seconds"]),
        opt_outs_pending=row["opt_outs_pending"],
    )
