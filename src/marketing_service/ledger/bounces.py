"""Bounces: what a report says about a send that the relay had accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.rules import proves_delivery
from marketing_service.store.soft_bounces import count_soft_bounce
from marketing_service.store.states import FailReason, SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.sends import ReportedSend


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a report says. `about_address`: whether it counts towards the suppression of the address."""

    is_hard: bool
    about_address: bool
    smtp_code: int | None
    enhanced_code: str | None
    message: str


# Only what the relay accepted can bounce. A report about an older attempt, or a repeated report, finds no row.
_FAIL = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET status = 'FAILED', reason = :reason, smtp_code = :smtp_code, enhanced_code = :enhanced_code,
            error_message = :message
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.attempts = :attempt
          AND s.status IN ('DELIVERED', 'UNCONFIRMED')
        RETURNING {MOVED}
    )
    """
)


async def record_bounce(
    connection: AsyncConnection, send: ReportedSend, bounce: Bounce, *, max_soft: int
) -> FailReason | None:
    """Make the send FAILED, if the report is about its current attempt. Suppress its address after a hard bounce, or
    after soft bounces in a row on `max_soft` days. Returns the reason, None if the bounce was recorded before."""
    reason = FailReason.BOUNCED_HARD if bounce.is_hard else FailReason.BOUNCED_SOFT
    locked = await lock_campaigns_waiting_for(
        connection, org_id=send.org_id, addresses=(send.address,), and_campaigns=(send.campaign_id,)
    )
    moved = await connection.execute(
        _FAIL,
        {
            "campaign_id": send.campaign_id,
            "send_id": send.id,
            "attempt": send.attempts,
            "reason": reason,
            "smtp_code": bounce.smtp_code,
            "enhanced_code": bounce.enhanced_code,
            "message": bounce.message,
        },
    )
    if not moved.scalar_one():
        return None
    why = await _suppression_reason(connection, send, bounce, max_soft)
    if why is not None:
        await suppress(
            connection,
            org_id=send.org_id,
            entries=(SuppressionEntry(send.address),),
            reason=why,
            origin=SuppressionOrigin.REPORT,
            campaign_id=send.campaign_id,
            locked=locked,
        )
    return reason


async def _suppression_reason(
    connection: AsyncConnection, send: ReportedSend, bounce: Bounce, max_soft: int
) -> SuppressionReason | None:
    if bounce.is_hard:
        return SuppressionReason.HARD_BOUNCE
    if bounce.about_address and await count_soft_bounce(connection, send) >= max_soft:
        return SuppressionReason.SOFT_BOUNCES
    return None


_CONFIRM = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET {proves_delivery("s")}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.attempts = :attempt AND s.status = 'UNCONFIRMED'
        RETURNING {MOVED}
    )
    """
)


async def confirm(connection: AsyncConnection, send: ReportedSend) -> bool:
    """Record that the send was delivered: a mail to the return path of its attempt proves that the relay accepted it.
    False if the send is not UNCONFIRMED any more."""
    await lock_campaign(connection, send.campaign_id)
    key = {"campaign_id": send.campaign_id, "send_id": send.id, "attempt": send.attempts}
    return bool((await connection.execute(_CONFIRM, key)).scalar_one())
