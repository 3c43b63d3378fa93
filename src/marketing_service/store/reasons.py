"""Reads the reasons for which sends of a campaign failed, were skipped or are deferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.states import SendStatus

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

KEY = ("status", "reason", "smtp_code", "enhanced_code")
"""The columns of a reason. A reason that has no code, or a deferral, which has only codes, has 0 or an empty text."""
MAX_REASONS = 200
"""How many reasons are listed. A relay with more different replies than that is not an honest one."""


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many sends are in a state for a reason. `smtp_code` and `enhanced_code` are those of the last reply or
    report."""

    status: SendStatus
    reason: str | None
    smtp_code: int | None
    enhanced_code: str | None
    sends: int


_REASONS = text(
    f"""
    SELECT {", ".join(KEY)}, sends FROM marketing_reasons
    WHERE campaign_id = :campaign_id AND sends > 0
    ORDER BY sends DESC, {", ".join(KEY)} LIMIT :limit
    """
)


async def reasons_of(connection: AsyncConnection, campaign_id: UUID) -> list[ReasonCount]:
    """The reasons of the campaign, the most frequent first, at most MAX_REASONS."""
    rows = await connection.execute(_REASONS, {"campaign_id": campaign_id, "limit": MAX_REASONS})
    return [
        ReasonCount(
            SendStatus(row.status), row.reason or None, row.smtp_code or None, row.enhanced_code or None, row.sends
        )
        for row in rows
    ]
