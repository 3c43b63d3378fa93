"""Pauses because of the relay, the probes that end them, and what the sending is throttled to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

THROTTLE_SECONDS = 60.0
"""A throttle that no worker has reported for so long is over."""


class ProbeSchedule(NamedTuple):
    """Seconds from a pause to the first probe; doubled after each further pause or failed probe, up to `maximum`."""

    first: float
    maximum: float


_RECORD = text(
    """
    INSERT INTO marketing_relay_pauses AS p (campaign_id, org_id, message, pauses, delivered, probe_at)
    SELECT c.id, c.org_id, :message, 1, c.delivered, clock_timestamp() + :first * interval '1 second'
    FROM marketing_campaigns c WHERE c.id = :campaign_id
    ON CONFLICT (campaign_id) DO UPDATE
    SET message = excluded.message, delivered = excluded.delivered,
        pauses = CASE WHEN excluded.delivered > p.delivered THEN 1 ELSE p.pauses + 1 END,
        probe_at = clock_timestamp() + interval '1 second' * least(
            :first * power(2, CASE WHEN excluded.delivered > p.delivered THEN 0 ELSE least(p.pauses, 30) END), :maximum)
    """
)


async def record_pause(
    connection: AsyncConnection, campaign_id: UUID, *, message: str | None, schedule: ProbeSchedule | None
) -> None:
    """Record why the campaign, whose row this transaction has locked, is paused. `schedule` is None if only a person
    can resume it."""
    values = {"first": None, "maximum": None} if schedule is None else schedule._asdict()
    await connection.execute(_RECORD, {"campaign_id": campaign_id, "message": message, **values})


_LEASE = text(
    """
    INSERT INTO marketing_relay_probe AS p (id, lease_until)
    VALUES (1, clock_timestamp() + :seconds * interval '1 second')
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE p.lease_until < clock_timestamp()
    RETURNING id
    """
)
_RELEASE = text("UPDATE marketing_relay_probe SET lease_until = clock_timestamp() WHERE id = 1")


async def lease_probe(connection: AsyncConnection, *, seconds: float) -> bool:
    """Lease the right to probe the relay. False if another worker has it."""
    return (await connection.execute(_LEASE, {"seconds": seconds})).scalar_one_or_none() is not None


async def release_probe(connection: AsyncConnection) -> None:
    """End the lease."""
    await connection.execute(_RELEASE)


@dataclass(frozen=True, slots=True)
class PausedCampaign:
    """A campaign that the relay has paused, and whose probe is due."""

    id: UUID
    from_email: str
    reason: str
    pauses: int


_DUE = text(
    """
    SELECT c.id, c.from_email, c.pause_reason AS reason, p.pauses
    FROM marketing_relay_pauses p JOIN marketing_campaigns c ON c.id = p.campaign_id
    WHERE c.status = 'SENDING' AND c.pause_reason LIKE 'RELAY%' AND p.probe_at <= clock_timestamp()
    ORDER BY p.probe_at, c.id LIMIT :limit
    """
)


async def campaigns_with_due_probe(connection: AsyncConnection, *, limit: int) -> list[PausedCampaign]:
    """Up to `limit` campaigns whose pause may be over."""
    return [PausedCampaign(**row) for row in (await connection.execute(_DUE, {"limit": limit})).mappings()]


_POSTPONE = text(
    """
    UPDATE marketing_relay_pauses
    SET pauses = pauses + 1, message = coalesce(:message, message),
        probe_at = clock_timestamp() + interval '1 second' * least(:first * power(2, least(pauses, 30)), :maximum)
    WHERE campaign_id = :campaign_id
    """
)


async def postpone_probe(
    connection: AsyncConnection, campaign_id: UUID, *, message: str | None, schedule: ProbeSchedule
) -> None:
    """The probe failed: the next one is later. `message`: the relay's words."""
    await connection.execute(_POSTPONE, {"campaign_id": campaign_id, "message": message, **schedule._asdict()})


_THROTTLED = text(
    """
    INSERT INTO marketing_relay_throttles (campaign_id, org_id, connections, messages_per_second, updated_at)
    SELECT c.id, c.org_id, :connections, :rate, clock_timestamp() FROM marketing_campaigns c
    WHERE c.id = ANY(:campaign_ids) AND c.status = 'SENDING' AND c.paused_at IS NULL
    ON CONFLICT (campaign_id) DO UPDATE
    SET connections = excluded.connections, messages_per_second = excluded.messages_per_second,
        updated_at = excluded.updated_at
    RETURNING campaign_id
    """
)
_FREE = text("DELETE FROM marketing_relay_throttles WHERE campaign_id = ANY(:campaign_ids)")


async def report_throttle(
    connection: AsyncConnection, campaign_ids: Sequence[UUID], *, connections: int, rate: float | None
) -> set[UUID]:
    """These campaigns are being sent over at most so many connections, and at this rate (messages per second; None:
    not limited). Returns those that are still being sent."""
    values = {"campaign_ids": list(campaign_ids), "connections": connections, "rate": rate}
    return set((await connection.execute(_THROTTLED, values)).scalars())


async def end_throttle(connection: AsyncConnection, campaign_ids: Sequence[UUID]) -> None:
    """The sending of these campaigns is not reduced any more."""
    await connection.execute(_FREE, {"campaign_ids": list(campaign_ids)})


@dataclass(frozen=True, slots=True)
class Throttle:
    """What a campaign's sending is reduced to. `messages_per_second` is None if only the connections are limited."""

    connections: int
    messages_per_second: float | None


_FIND_THROTTLE = text(
    """
    SELECT connections, messages_per_second FROM marketing_relay_throttles
    WHERE org_id = :org_id AND campaign_id = :campaign_id
      AND updated_at > clock_timestamp() - :seconds * interval '1 second'
    """
)


async def find_throttle(connection: AsyncConnection, *, org_id: str, campaign_id: UUID) -> Throttle | None:
    """The campaign's throttle; None if the relay takes all that is configured."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "seconds": THROTTLE_SECONDS}
    row = (await connection.execute(_FIND_THROTTLE, key)).mappings().one_or_none()
    return None if row is None else Throttle(**row)
