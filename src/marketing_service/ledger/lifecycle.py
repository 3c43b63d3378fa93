"""The lifecycle of a campaign: launch, pause, resume, cancel, and a launch that failed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, counted
from marketing_service.store.audit import Action, add_system_entries
from marketing_service.store.batches import BATCH_SIZE
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.relay_pauses import ProbeSchedule, record_pause
from marketing_service.store.rules import has_unsettled_sends, is_expanding, is_waiting, predates_cancel
from marketing_service.store.states import CampaignStatus, SkipReason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.ports import Audience

CANCEL_AT_ONCE = 5_000
"""How many sends the request that cancels skips, in a second transaction. The sweep skips the others."""


class PauseReason(StrEnum):
    """Why a campaign is paused. A reason that begins with RELAY ends by itself when the relay works again."""

    USER = "USER"
    RELAY_DOWN = "RELAY_DOWN"
    """No connection can be opened."""
    RELAY_BUSY = "RELAY_BUSY"
    """The relay works, and has accepted nothing at all for minutes."""
    RELAY_QUOTA = "RELAY_QUOTA"
    """The quota of our account at the relay is used up."""
    RELAY_REFUSES_SENDER = "RELAY_REFUSES_SENDER"
    RELAY_LOGIN_REFUSED = "RELAY_LOGIN_REFUSED"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """The message is larger than the relay accepts. Only a person can resume the campaign."""


def probe_schedules(seconds: float) -> Mapping[PauseReason, ProbeSchedule]:
    """When the relay is probed after a pause; `seconds` is the first wait after a refusal.

    A relay that is down is probed soon. A quota lasts for hours, so it is probed every fifteen times that. A refused
    log-in may lock the account if it is repeated too often, so these waits grow to an hour.
    """
    return {
        PauseReason.RELAY_DOWN: ProbeSchedule(seconds / 12, seconds * 5),
        PauseReason.RELAY_BUSY: ProbeSchedule(seconds, seconds * 15),
        PauseReason.RELAY_QUOTA: ProbeSchedule(seconds * 15, seconds * 15),
        PauseReason.RELAY_REFUSES_SENDER: ProbeSchedule(seconds, seconds * 60),
        PauseReason.RELAY_LOGIN_REFUSED: ProbeSchedule(seconds, seconds * 60),
    }


PROBES = probe_schedules(60.0)


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
    SET status = 'SENDING', launched_at = clock_timestamp(), expansion_due_at = clock_timestamp(),
        updated_at = clock_timestamp(), version = version + 1,
        audience_type = coalesce(CAST(:type AS text), audience_type),
        audience_statuses = coalesce(CAST(:statuses AS text[]), audience_statuses),
        postal_address = :postal_address,
        scheduled_at = CASE WHEN :by_schedule THEN scheduled_at END,
        scheduled_time_zone = CASE WHEN :by_schedule THEN scheduled_time_zone END,
        schedule_problem_code = NULL, schedule_problem_message = NULL
    WHERE id = :campaign_id AND status = 'DRAFT'
    """
)


async def launch(
    connection: AsyncConnection,
    campaign_id: UUID,
    *,
    audience: Audience | None,
    postal_address: str | None = None,
    by_schedule: bool = False,
) -> bool:
    """DRAFT → SENDING; `audience` replaces the draft's, and the footer has this postal address from now on. A launch by
    a user ends the schedule of the draft. False if the campaign is not a DRAFT."""
    result = await connection.execute(
        _LAUNCH,
        {
            "campaign_id": campaign_id,
            "type": audience and audience.type.value,
            "statuses": audience and list(audience.statuses),
            "postal_address": postal_address,
            "by_schedule": by_schedule,
        },
    )
    return result.rowcount == 1


_PAUSE = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = coalesce(paused_at, clock_timestamp()), pause_reason = :reason,
        updated_at = clock_timestamp(), version = version + 1
    WHERE id = :campaign_id AND status = 'SENDING' AND cancelled_at IS NULL
      AND (paused_at IS NULL OR :reason = 'USER')
    """
)


async def pause(
    connection: AsyncConnection,
    campaign_id: UUID,
    reason: PauseReason,
    *,
    message: str | None = None,
    probes: Mapping[PauseReason, ProbeSchedule] = PROBES,
) -> bool:
    """Pause the campaign: no more of its sends are marked. USER replaces another reason, and no other reason replaces
    one. False unless the campaign is SENDING and not cancelled. `message`: the relay's own words. A pause by the system
    gets an entry in the audit trail; the use case records a pause by a user."""
    paused = (await connection.execute(_PAUSE, {"campaign_id": campaign_id, "reason": reason.value})).rowcount == 1
    if paused and reason is not PauseReason.USER:
        await record_pause(connection, campaign_id, message=message, schedule=probes.get(reason))
        await add_system_entries(connection, Action.PAUSED, [campaign_id], {"pauseReason": reason.value})
    return paused


_RESUME = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = NULL, pause_reason = NULL, updated_at = clock_timestamp(), version = version + 1
    WHERE id = :campaign_id AND status = 'SENDING' AND cancelled_at IS NULL
    """
)


async def resume(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """End a pause: sends may be marked again. False unless the campaign is SENDING and not cancelled."""
    return (await connection.execute(_RESUME, {"campaign_id": campaign_id})).rowcount == 1


_RESUME_AFTER_RELAY = text(
    """
    UPDATE marketing_campaigns
    SET paused_at = NULL, pause_reason = NULL, updated_at = clock_timestamp(), version = version + 1
    WHERE id = :campaign_id AND status = 'SENDING' AND pause_reason LIKE 'RELAY%'
    """
)


async def resume_after_relay(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Resume a campaign that is paused because of the relay, with an entry in the audit trail. False if it is not
    paused so (any more)."""
    resumed = (await connection.execute(_RESUME_AFTER_RELAY, {"campaign_id": campaign_id})).rowcount == 1
    if resumed:
        await add_system_entries(connection, Action.RESUMED, [campaign_id], {})
    return resumed


_CANCEL = text(
    """
    UPDATE marketing_campaigns
    SET cancelled_at = clock_timestamp(), paused_at = NULL, pause_reason = NULL,
        updated_at = clock_timestamp(), version = version + 1,
        expansion_epoch = expansion_epoch + 1, expansion_due_at = NULL, expansion_lease_until = NULL,
        status = CASE WHEN expanded_at IS NULL THEN 'SENT' ELSE status END,
        sent_at = CASE WHEN expanded_at IS NULL THEN clock_timestamp() ELSE sent_at END
    WHERE id = :campaign_id
    """
)
_CANCELLED = "cancelled AS MATERIALIZED (SELECT cancelled_at FROM marketing_campaigns WHERE id = :campaign_id)"
_SKIP = f"status = 'SKIPPED', reason = '{SkipReason.CANCELLED}', due_at = NULL"
# A waiting send has a due time, or is in a batch.
_SKIP_WITH_DUE_TIME = counted(
    f"""
    {_CANCELLED},
    waiting AS MATERIALIZED (
        SELECT s.id FROM cancelled CROSS JOIN marketing_sends s
        WHERE s.campaign_id = :campaign_id AND s.due_at IS NOT NULL AND {is_waiting("s")}
          AND {predates_cancel("s", "cancelled")}
        LIMIT :limit
    ),
    moved AS (
        UPDATE marketing_sends s SET {_SKIP} FROM waiting WHERE s.id = waiting.id
        RETURNING {MOVED}
    )
    """
)
# Batches without an unsettled send are deleted, so a step does not read again what earlier steps have skipped.
_SKIP_IN_BATCHES = counted(
    f"""
    {_CANCELLED},
    batch AS MATERIALIZED (
        SELECT b.number FROM marketing_batches b
        WHERE b.campaign_id = :campaign_id AND EXISTS (
            SELECT FROM cancelled CROSS JOIN marketing_sends s
            WHERE s.campaign_id = :campaign_id AND s.batch = b.number AND {is_waiting("s")}
              AND {predates_cancel("s", "cancelled")} OFFSET 0)
        ORDER BY b.number LIMIT :batches
    ),
    moved AS (
        UPDATE marketing_sends s SET {_SKIP} FROM batch, cancelled
        WHERE s.campaign_id = :campaign_id AND s.batch = batch.number AND {is_waiting("s")}
          AND {predates_cancel("s", "cancelled")}
        RETURNING {MOVED}
    )
    """,
    "SELECT (SELECT count(*) FROM moved) AS sends, (SELECT max(number) FROM batch) AS last_batch",
)
_DROP_BATCHES = text(
    f"""
    DELETE FROM marketing_batches b
    WHERE b.campaign_id = :campaign_id AND b.number <= :last_batch AND b.lease_until IS NULL
      AND NOT {has_unsettled_sends("b")}
    """
)
_MAX_BATCH = 2**31 - 1


async def cancel(connection: AsyncConnection, campaign_id: UUID) -> bool:
    """Cancel the campaign: none of its sends is marked once this is committed. False unless the campaign is SENDING.

    It takes the same time for every size of campaign. `skip_cancelled` then settles the waiting sends, in steps; marked
    ones still get their results, and the campaign is SENT after the last one. A campaign that is not expanded is SENT
    at once, with no sends. A second cancel changes nothing.
    """
    campaign = await lock_campaign(connection, campaign_id)
    if campaign is None or campaign.status is not CampaignStatus.SENDING:
        return False
    if campaign.cancelled_at is None:
        await connection.execute(_CANCEL, {"campaign_id": campaign_id})
    return True


async def skip_cancelled(connection: AsyncConnection, campaign_id: UUID, *, limit: int) -> int:
    """Skip about `limit` waiting sends of a cancelled campaign, which is locked; returns how many were skipped.

    The sends of a batch are skipped together, so it may be up to a batch more than `limit`. It is 0 if none is left.
    """
    key = {"campaign_id": campaign_id}
    skipped = int((await connection.execute(_SKIP_WITH_DUE_TIME, key | {"limit": limit})).scalar_one())
    if skipped >= limit:
        return skipped
    batches = -(-(limit - skipped) // BATCH_SIZE)
    moved = (await connection.execute(_SKIP_IN_BATCHES, key | {"batches": batches})).one()
    last_batch = _MAX_BATCH if moved.last_batch is None else moved.last_batch
    await connection.execute(_DROP_BATCHES, key | {"last_batch": last_batch})
    return skipped + int(moved.sends)


_FAIL = text(
    f"""
    UPDATE marketing_campaigns c
    SET status = 'FAILED', failure_code = :code, failure_message = :message, updated_at = clock_timestamp(),
        version = version + 1, paused_at = NULL, pause_reason = NULL,
        expansion_due_at = NULL, expansion_lease_until = NULL
    WHERE c.id = :campaign_id AND c.expansion_epoch = :epoch AND {is_expanding("c")}
    """
)


async def fail_launch(
    connection: AsyncConnection, campaign_id: UUID, *, epoch: int, code: FailureCode, message: str
) -> bool:
    """SENDING → FAILED, before the campaign is expanded. False if another attempt has the expansion."""
    result = await connection.execute(
        _FAIL, {"campaign_id": campaign_id, "epoch": epoch, "code": code.value, "message": message}
    )
    return result.rowcount == 1
