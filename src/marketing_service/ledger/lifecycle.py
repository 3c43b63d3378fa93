"""The campaign's life: launch, pause, resume, cancel, and a launch that failed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted, lock_campaign
from marketing_service.store.states import CampaignStatus, SkipReason

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.ports import Audience

CANCEL_AT_ONCE = 5_000
"""How many rows a cancel moves before it answers; the sweep moves the rest, and none of them can be marked."""


class PauseReason(StrEnum):
    """Why a campaign is paused. One that begins with RELAY is lifted by itself when the relay is back."""

    USER = "USER"
    RELAY_DOWN = "RELAY_DOWN"
    RELAY_REFUSES_SENDER = "RELAY_REFUSES_SENDER"


class FailureCode(StrEnum):
    """Why a launch failed."""

    SMTP_NOT_CONFIGURED = "SMTP_NOT_CONFIGURED"
    CRM_REFUSED = "CRM_REFUSED"
    CRM_UNAVAILABLE = "CRM_UNAVAILABLE"
    STATUS_UNKNOWN = "STATUS_UNKNOWN"
    TEMPLATE_BROKEN = "TEMPLATE_BROKEN"


_LAUNCH = text(
    """
    UPDATE marketing_campaigns
    SET status = 'SENDING', launched_at = now(), expansion_due_at = now(), updated_at = now(),
        version = version + 1,
        audience_type = coalesce(CAST(:type AS text), audience_type),
        audience_statuses = coalesce(CAST(:statuses AS text[]), audience_statuses)
    WHERE id = :campaign_id AND status = 'DRAFT'
    """
)


async def launch(connection: AsyncConnection, campaign_id: UUID, *, audience: Audience | None) -> bool:
    """DRAFT → SENDING, with another audience where one is given. False where it was not a draft."""
    result = await connection.execute(
        _LAUNCH,
        {
            "campaign_id": campaign_id,
            "type": audience and audience.type.value,
            "statuses": audience and list(audience.statuses),
        },
    )
    return result.rowcount == 1


_PAUSE = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = coalesce(paused_at, now()), pause_reason = :reason, updated_at = now(), version = version + 1
    WHERE id = :campaign_id AND status = 'SENDING' AND cancelled_at IS NULL
      AND (paused_at IS NULL OR :reason = 'USER')
    """
)


async def pause(connection: AsyncConnection, campaign_id: UUID, reason: PauseReason) -> bool:
    """Mark no more of its sends. A person's pause outranks the relay's. False unless SENDING (and not cancelled)."""
    return (await connection.execute(_PAUSE, {"campaign_id": campaign_id, "reason": reason.value})).rowcount == 1


_RESUME = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = NULL, pause_reason = NULL, updated_at = now(), version = version + 1
    WHERE id = :campaign_id AND status = 'SENDING' AND cancelled_at IS NULL
    """
)


async def resume(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Let its sends be marked again. False unless SENDING (and not cancelled)."""
    return (await connection.execute(_RESUME, {"campaign_id": campaign_id})).rowcount == 1


_RESUME_ALL = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = NULL, pause_reason = NULL, updated_at = now(), version = version + 1
    -- In the order in which an opt-out locks campaigns, so that neither waits for the other.
    WHERE id IN (SELECT id FROM marketing_campaigns WHERE status = 'SENDING' AND pause_reason LIKE 'RELAY%'
                 ORDER BY id FOR NO KEY UPDATE)
    RETURNING id
    """
)


async def resume_after_relay(connection: AsyncConnection) -> list[UUID]:
    """Resume every campaign the relay had paused; returns which."""
    return list((await connection.execute(_RESUME_ALL)).scalars())


_HELD = text("SELECT EXISTS (SELECT FROM marketing_campaigns WHERE status = 'SENDING' AND pause_reason LIKE 'RELAY%')")


async def any_paused_by_relay(connection: AsyncConnection) -> bool:
    return bool((await connection.execute(_HELD)).scalar_one())


_CANCEL = text(
    """
    UPDATE marketing_campaigns
    SET cancelled_at = clock_timestamp(), paused_at = NULL, pause_reason = NULL,
        updated_at = now(), version = version + 1,
        expansion_epoch = expansion_epoch + 1, expansion_due_at = NULL, expansion_lease_until = NULL,
        status = CASE WHEN expanded_at IS NULL THEN 'SENT' ELSE status END,
        sent_at = CASE WHEN expanded_at IS NULL THEN now() ELSE sent_at END
    WHERE id = :campaign_id
    """
)
_SKIP_CANCELLED = counted(
    f"""
    cancelled AS (
        SELECT s.id FROM marketing_sends s JOIN marketing_campaigns c ON c.id = s.campaign_id
        WHERE s.campaign_id = :campaign_id AND s.status IN ('QUEUED', 'DEFERRED') AND s.queued_at < c.cancelled_at
        LIMIT :most
    ),
    moved AS (
        UPDATE marketing_sends s
        SET status = 'SKIPPED', reason = '{SkipReason.CANCELLED}', due_at = NULL
        FROM cancelled WHERE s.id = cancelled.id
        RETURNING {MOVED}
    )
    """
)
_DROP_BATCHES = text(
    """
    DELETE FROM marketing_batches b
    WHERE campaign_id = :campaign_id AND lease_until IS NULL AND NOT EXISTS (
        SELECT FROM marketing_sends s WHERE s.campaign_id = b.campaign_id AND s.batch = b.number
        AND s.status IN ('QUEUED', 'DEFERRED', 'SENDING'))
    """
)


async def cancel(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Send no more of it: what waits becomes SKIPPED/CANCELLED. False unless SENDING.

    Before its list stands it is SENT at once, with no rows. What is already marked still comes to its end, and
    the campaign is SENT when that has. Cancelling twice changes nothing.
    """
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is None or campaign.status is not CampaignStatus.SENDING:
        return False
    if campaign.cancelled_at is None:
        await connection.execute(_CANCEL, {"campaign_id": campaign_id})
    await skip_cancelled(connection, campaign_id, most=CANCEL_AT_ONCE)
    return True


async def skip_cancelled(connection: AsyncConnection, campaign_id: UUID, *, most: int) -> int:
    """Move up to `most` rows of a cancelled, locked campaign to SKIPPED; returns how many were moved."""
    moved = await connection.execute(_SKIP_CANCELLED, {"campaign_id": campaign_id, "most": most})
    await connection.execute(_DROP_BATCHES, {"campaign_id": campaign_id})
    return int(moved.scalar_one())


_FAIL = text(
    """
    UPDATE marketing_campaigns
    SET status = 'FAILED', failure_code = :code, failure_message = :message, updated_at = now(),
        version = version + 1, paused_at = NULL, pause_reason = NULL,
        expansion_due_at = NULL, expansion_lease_until = NULL
    WHERE id = :campaign_id AND status = 'SENDING' AND expanded_at IS NULL AND expansion_epoch = :epoch
    """
)


async def fail_launch(
    connection: AsyncConnection, campaign_id: UUID, *, epoch: int, code: FailureCode, message: str
) -> bool:
    """SENDING → FAILED, while its list does not stand. False where another attempt holds the launch."""
    result = await connection.execute(
        _FAIL, {"campaign_id": campaign_id, "epoch": epoch, "code": code.value, "message": message}
    )
    return result.rowcount == 1
