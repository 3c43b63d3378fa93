"""Preflights: the last check of each campaign before a launch. Its attempts are fenced as those of an expansion are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from sqlalchemy import JSON, bindparam, text

from marketing_service.ports import Audience, AudienceType
from marketing_service.rendering import NO_POSTAL_ADDRESSES, Finding, Severity
from marketing_service.store.messages import message_source

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.rendering import MessageSource, PostalAddresses


class PreflightStatus(StrEnum):
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    """The check could not be made. This says nothing about the campaign."""


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """What a launch would have done. Each contact is counted once, in the first class that applies to it."""

    opted_out: int
    without_address: int
    malformed: int
    duplicates: int
    recipients: int
    estimated_seconds: float | None
    """At the speed of the last large campaigns, if nothing else is sent; None if there was no such campaign."""
    findings: tuple[Finding, ...]
    suppressed: int = 0  # missing in reports that are older than the suppression list
    largest_octets: int | None = None
    """The size of the largest message that was rendered; None in older reports."""
    eight_bit: bool = True
    """Whether it was rendered for a relay that accepts 8-bit content."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The state of a preflight. `fetched` contacts are read, of about `expected`, if that is known already."""

    campaign_id: UUID
    version: int
    stale: bool
    """Whether the campaign has another version by now."""
    status: PreflightStatus
    requested_at: datetime
    finished_at: datetime | None
    fetched: int
    expected: int | None
    failure: str | None
    report: PreflightReport | None


@dataclass(frozen=True, slots=True)
class PreflightAttempt:
    """One attempt at a preflight, of the campaign as it was when the attempt began."""

    campaign_id: UUID
    org_id: str
    epoch: int
    requested_at: datetime
    changed: bool
    """Whether the campaign has another version than the one that was requested."""
    message: MessageSource
    audience: Audience


_REPORT = TypeAdapter(PreflightReport)

_REQUEST = text(
    """
    INSERT INTO marketing_preflights AS k (campaign_id, org_id, version, requested_by, due_at)
    VALUES (:campaign_id, :org_id, :version, :requested_by, now())
    ON CONFLICT (campaign_id) DO UPDATE
    SET version = excluded.version, requested_by = excluded.requested_by, requested_at = now(), due_at = now(),
        status = 'RUNNING', epoch = k.epoch + 1, lease_until = NULL, finished_at = NULL, fetched = 0,
        expected = NULL, failure = NULL, report = NULL, errors = 0
    WHERE k.status <> 'RUNNING' OR k.version <> excluded.version
    RETURNING epoch
    """
)


async def request_preflight(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, version: int, requested_by: str
) -> int | None:
    """Request a preflight in place of the last one; returns its epoch, None if one of this version is running."""
    values = {"org_id": org_id, "campaign_id": campaign_id, "version": version, "requested_by": requested_by}
    epoch = (await connection.execute(_REQUEST, values)).scalar_one_or_none()
    return None if epoch is None else int(epoch)


_FIND = text(
    """
    SELECT k.campaign_id, k.version, k.version <> c.version AS stale, k.status, k.requested_at, k.finished_at,
           k.fetched, k.expected, k.failure, k.report
    FROM marketing_preflights k JOIN marketing_campaigns c ON c.id = k.campaign_id
    WHERE k.org_id = :org_id AND k.campaign_id = :campaign_id
    """
)


async def find_preflight(connection: AsyncConnection, *, org_id: str, campaign_id: UUID) -> Preflight | None:
    """The campaign's last preflight; None if none was requested."""
    key = {"org_id": org_id, "campaign_id": campaign_id}
    row = (await connection.execute(_FIND, key)).mappings().one_or_none()
    if row is None:
        return None
    report = None if row["report"] is None else _REPORT.validate_python(row["report"])
    return Preflight(**(dict(row) | {"status": PreflightStatus(row["status"]), "report": report}))


_ERRORS = text(
    "SELECT errors FROM marketing_preflights"
    " WHERE org_id = :org_id AND campaign_id = :campaign_id AND version = :version AND status = 'DONE'"
)


async def errors_found(connection: AsyncConnection, *, org_id: str, campaign_id: UUID, version: int) -> int:
    """How many errors the preflight of this version found; 0 if none has finished."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "version": version}
    return int((await connection.execute(_ERRORS, key)).scalar_one_or_none() or 0)


_LARGEST = text(
    "SELECT (report->>'largest_octets')::bigint AS octets, (report->>'eight_bit')::boolean AS eight_bit"
    " FROM marketing_preflights"
    " WHERE org_id = :org_id AND campaign_id = :campaign_id AND version = :version AND status = 'DONE'"
)


async def largest_octets(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, version: int, eight_bit: bool
) -> int:
    """The size of the largest message that the preflight of this version rendered for such a relay; 0 if none did."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "version": version}
    row = (await connection.execute(_LARGEST, key)).one_or_none()
    return int(row.octets or 0) if row is not None and row.eight_bit == eight_bit else 0


_CLAIM = text(
    """
    UPDATE marketing_preflights k
    SET epoch = k.epoch + 1, lease_until = now() + :lease * interval '1 second', fetched = 0
    FROM marketing_campaigns c
    WHERE k.campaign_id = :campaign_id AND c.id = k.campaign_id AND k.status = 'RUNNING'
      AND (k.lease_until IS NULL OR k.lease_until < now())
    RETURNING k.org_id, k.epoch, k.requested_at, k.version <> c.version AS changed, c.audience_type,
              c.audience_statuses, c.from_name, c.from_email, c.reply_to, c.subject, c.html_body, c.text_body,
              c.track_clicks, c.language, c.preheader
    """
)


async def claim_preflight(
    connection: AsyncConnection,
    campaign_id: UUID,
    *,
    lease: float,
    postal_addresses: PostalAddresses = NO_POSTAL_ADDRESSES,
) -> PreflightAttempt | None:
    """Claim the preflight for one attempt, for `lease` seconds; None if it is claimed, finished, or does not exist. The
    message has the postal address that a launch would give it."""
    row = (await connection.execute(_CLAIM, {"campaign_id": campaign_id, "lease": lease})).one_or_none()
    if row is None:
        return None
    return PreflightAttempt(
        campaign_id=campaign_id,
        org_id=row.org_id,
        epoch=row.epoch,
        requested_at=row.requested_at,
        changed=row.changed,
        message=message_source(
            row,
            org_id=row.org_id,
            campaign_id=campaign_id,
            track_clicks=row.track_clicks,
            postal_address=postal_addresses.of(row.org_id),
        ),
        audience=Audience(AudienceType(row.audience_type), tuple(row.audience_statuses)),
    )


_OURS = "campaign_id = :campaign_id AND epoch = :epoch AND status = 'RUNNING'"
_COUNT_FETCHED = text(
    f"""
    UPDATE marketing_preflights
    SET fetched = :fetched, expected = :expected, lease_until = now() + :lease * interval '1 second'
    WHERE {_OURS}
    """
)
_FINISH = text(
    f"""
    UPDATE marketing_preflights
    SET status = 'DONE', report = :report, errors = :errors, finished_at = now(), due_at = NULL, lease_until = NULL
    WHERE {_OURS}
    """
).bindparams(bindparam("report", type_=JSON))
_FAIL = text(
    f"""
    UPDATE marketing_preflights
    SET status = 'FAILED', failure = :failure, finished_at = now(), due_at = NULL, lease_until = NULL
    WHERE {_OURS}
    """
)
_POSTPONE = text(
    f"""
    UPDATE marketing_preflights
    SET lease_until = NULL, due_at = now() + :delay * interval '1 second'
    WHERE {_OURS}
    """
)


def _key(attempt: PreflightAttempt) -> dict[str, object]:
    return {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch}


async def count_fetched(
    connection: AsyncConnection, attempt: PreflightAttempt, *, fetched: int, expected: int, lease: float
) -> bool:
    """Store how many contacts are read and renew the lease, for `lease` seconds from now. False if the preflight is not
    ours any more."""
    values = _key(attempt) | {"fetched": fetched, "expected": expected, "lease": lease}
    return (await connection.execute(_COUNT_FETCHED, values)).rowcount == 1


async def finish_preflight(connection: AsyncConnection, attempt: PreflightAttempt, report: PreflightReport) -> bool:
    """Store the report. False if the preflight is not ours any more."""
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    values = _key(attempt) | {"report": _REPORT.dump_python(report, mode="json"), "errors": errors}
    return (await connection.execute(_FINISH, values)).rowcount == 1


async def fail_preflight(connection: AsyncConnection, attempt: PreflightAttempt, failure: str) -> None:
    """End the preflight without a report. `failure` is a sentence for the user."""
    await connection.execute(_FAIL, _key(attempt) | {"failure": failure})


async def postpone_preflight(connection: AsyncConnection, attempt: PreflightAttempt, *, delay: float) -> None:
    """Release the preflight; the next attempt is due after `delay` seconds."""
    await connection.execute(_POSTPONE, _key(attempt) | {"delay": delay})


PREFLIGHT_IS_DUE = "k.due_at <= now() AND (k.lease_until IS NULL OR k.lease_until < now())"
"""The condition of a preflight `k` that is due and not claimed."""
_DUE = text(f"SELECT k.campaign_id, k.epoch FROM marketing_preflights k WHERE {PREFLIGHT_IS_DUE}")


async def due_preflights(connection: AsyncConnection) -> list[tuple[UUID, int]]:
    """The preflights that are not claimed and whose next attempt is due: campaign, and epoch of the last attempt."""
    return [(row.campaign_id, row.epoch) for row in await connection.execute(_DUE)]


# Of each of the last three campaigns with at least 1,000 sends: the middle 80 % of the first 10,000 sends. The first
# and the last 10 % are slower, because workers start up and wait for the last results; retries are slower, too.
_PACE = text(
    """
    SELECT sum(pace.sends) * 0.8 / nullif(sum(pace.seconds), 0)
    FROM (
        SELECT id FROM marketing_campaigns
        WHERE recipients >= 1000 AND sent_at > now() - interval '30 days' AND cancelled_at IS NULL
        ORDER BY sent_at DESC LIMIT 3
    ) AS campaign
    CROSS JOIN LATERAL (
        SELECT count(*) AS sends, extract(epoch FROM
            percentile_disc(0.9) WITHIN GROUP (ORDER BY marked_at)
            - percentile_disc(0.1) WITHIN GROUP (ORDER BY marked_at)) AS seconds
        FROM marketing_sends s WHERE s.campaign_id = campaign.id AND s.batch < 100 AND s.marked_at IS NOT NULL
    ) AS pace
    """
)


async def recent_pace(connection: AsyncConnection) -> float | None:
    """How many messages per second the last large campaigns sent; None if there was no such campaign."""
    pace = (await connection.execute(_PACE)).scalar_one()
    return None if pace is None else float(pace)
