"""Bounces: what a report says of a send that the relay had taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, PROVEN, counted, lock_campaign
from marketing_service.ledger.suppressions import Entry, lock_waiting, suppress
from marketing_service.store.states import FailReason, SendStatus, SuppressionOrigin, SuppressionReason

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class ReportedSend:
    """A send that a report names, as it stands."""

    id: UUID
    org_id: str
    campaign_id: UUID
    address: str
    status: SendStatus
    attempts: int
    unsubscribed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a report says. `about_address`: whether it counts towards suppressing the address."""

    is_hard: bool
    about_address: bool
    smtp_code: int | None
    enhanced_code: str | None
    message: str


_FIND = text(
    "SELECT id, org_id, campaign_id, address, status, attempts, unsubscribed_at"
    " FROM marketing_sends WHERE id = :send_id"
)


async def reported_send(connection: AsyncConnection, send_id: UUID) -> ReportedSend | None:
    """The send, None where there is none (or it is not ours to see)."""
    row = (await connection.execute(_FIND, {"send_id": send_id})).mappings().one_or_none()
    return None if row is None else ReportedSend(**(dict(row) | {"status": SendStatus(row["status"])}))


# Only what the relay took can bounce; and a report of an older attempt, or one that comes again, finds nothing.
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
    connection: AsyncConnection, send: ReportedSend, bounce: Bounce, *, most_soft: int
) -> FailReason | None:
    """Make the send FAILED, of whose present attempt the report is; and suppress its address where it takes no mail,
    or has bounced softly `most_soft` times in a row. What the send failed for, None where that was done before."""
    reason = FailReason.BOUNCED_HARD if bounce.is_hard else FailReason.BOUNCED_SOFT
    locked = await lock_waiting(
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
    why = await _suppression(connection, send, bounce, most_soft)
    if why is not None:
        await suppress(
            connection,
            org_id=send.org_id,
            entries=(Entry(send.address),),
            reason=why,
            origin=SuppressionOrigin.REPORT,
            campaign_id=send.campaign_id,
            locked=locked,
        )
    return reason


async def _suppression(
    connection: AsyncConnection, send: ReportedSend, bounce: Bounce, most_soft: int
) -> SuppressionReason | None:
    if bounce.is_hard:
        return SuppressionReason.HARD_BOUNCE
    if bounce.about_address and await _soft_in_a_row(connection, send) >= most_soft:
        return SuppressionReason.SOFT_BOUNCES
    return None


_LOCK_SOFT = text(
    """
    INSERT INTO marketing_soft_bounces AS b (org_id, address, in_a_row, last_send_id)
    VALUES (:org_id, :address, 0, :send_id)
    ON CONFLICT (org_id, address) DO UPDATE SET last_at = clock_timestamp()
    RETURNING in_a_row, last_send_id
    """
)
# Whether this send's campaign is the later one, and whether another, launched between the two, did get through.
_SINCE_THE_LAST = text(
    """
    SELECT this.launched_at >= last.launched_at AS is_later, EXISTS (
        SELECT FROM marketing_campaigns c
        JOIN marketing_sends s ON s.campaign_id = c.id AND s.address = :address AND s.status = 'DELIVERED'
        WHERE c.org_id = :org_id AND c.launched_at > least(this.launched_at, last.launched_at)
          AND c.launched_at < greatest(this.launched_at, last.launched_at)
    ) AS got_through
    FROM marketing_campaigns this, marketing_campaigns last
    JOIN marketing_sends last_send ON last_send.campaign_id = last.id
    WHERE this.id = :campaign_id AND last_send.id = :last_send_id
    """
)
_COUNT_SOFT = text(
    """
    UPDATE marketing_soft_bounces
    SET in_a_row = :in_a_row, last_send_id = CASE WHEN :is_later THEN :send_id ELSE last_send_id END
    WHERE org_id = :org_id AND address = :address
    """
)


async def _soft_in_a_row(connection: AsyncConnection, send: ReportedSend) -> int:
    """Count one more, by the order of the launches and not of the reports; how many it is now."""
    key = {"org_id": send.org_id, "address": send.address, "send_id": send.id}
    before = (await connection.execute(_LOCK_SOFT, key)).one()
    in_a_row, is_later = before.in_a_row, True
    if in_a_row == 0:
        in_a_row = 1
    elif before.last_send_id != send.id:  # one that was resent is no further message
        others = {"campaign_id": send.campaign_id, "last_send_id": before.last_send_id}
        since = (await connection.execute(_SINCE_THE_LAST, key | others)).one()
        is_later = since.is_later
        if not since.got_through:
            in_a_row += 1
        elif is_later:
            in_a_row = 1
    await connection.execute(_COUNT_SOFT, key | {"in_a_row": in_a_row, "is_later": is_later})
    return int(in_a_row)


_CONFIRM = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET {PROVEN}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id AND s.attempts = :attempt AND s.status = 'UNCONFIRMED'
        RETURNING {MOVED}
    )
    """
)


async def confirm(connection: AsyncConnection, send: ReportedSend) -> bool:
    """What came to the return path of its attempt proves that the relay took it. False where that was known."""
    await lock_campaign(connection, send.campaign_id)
    key = {"campaign_id": send.campaign_id, "send_id": send.id, "attempt": send.attempts}
    return bool((await connection.execute(_CONFIRM, key)).scalar_one())
