"""Checks: the last dry run of each campaign, fenced as an expansion is, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from sqlalchemy import JSON, bindparam, text

from marketing_service.ports import Audience, AudienceType
from marketing_service.rendering import Finding, MessageSource, Severity

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


class PreflightStatus(StrEnum):
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    """It could not be carried out, which says nothing about the campaign."""


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """What a launch would have come to: each contact is counted once, in the first that applies to it."""

    opted_out: int
    without_address: int
    malformed: int
    duplicates: int
    recipients: int
    estimated_seconds: float | None
    """At the speed of the last campaigns of some size, with nothing else to be sent; None while there was none."""
    findings: tuple[Finding, ...]
    suppressed: int = 0  # reports made before there was a suppression list do not say


@dataclass(frozen=True, slots=True)
class Preflight:
    """A check as it stands. `fetched` contacts have been read, of about `expected` where that is known already."""

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
    """One attempt at a check, of the campaign as it was when the attempt began."""

    campaign_id: UUID
    org_id: str
    epoch: int
    requested_at: datetime
    changed: bool
    """Whether the campaign is not what was asked about any more."""
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
    """Ask for a check in place of the last one; its epoch, or None where one of this version is under way."""
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
    """The campaign's last check, None where nobody has asked for one."""
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
    """How many errors the check of this version found; 0 without a finished one."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "version": version}
    return int((await connection.execute(_ERRORS, key)).scalar_one_or_none() or 0)


_CLAIM = text(
    """
    UPDATE marketing_preflights k
    SET epoch = k.epoch + 1, lease_until = now() + :lease * interval '1 second', fetched = 0
    FROM marketing_campaigns c
    WHERE k.campaign_id = :campaign_id AND c.id = k.campaign_id AND k.status = 'RUNNING'
      AND (k.lease_until IS NULL OR k.lease_until < now())
    RETURNING k.org_id, k.epoch, k.requested_at, k.version <> c.version AS changed, c.audience_type,
              c.audience_statuses, c.from_name, c.from_email, c.reply_to, c.subject, c.html_body, c.text_body,
              c.track_clicks
    """
)


async def claim_preflight(connection: AsyncConnection, campaign_id: UUID, *, lease: float) -> PreflightAttempt | None:
    """Take the check for one attempt, for `lease` seconds; None where it is held, over, or gone."""
    row = (await connection.execute(_CLAIM, {"campaign_id": campaign_id, "lease": lease})).one_or_none()
    if row is None:
        return None
    return PreflightAttempt(
        campaign_id=campaign_id,
        org_id=row.org_id,
        epoch=row.epoch,
        requested_at=row.requested_at,
        changed=row.changed,
        message=MessageSource(
            campaign_id=campaign_id,
            org_id=row.org_id,
            from_name=row.from_name,
            from_email=row.from_email,
            reply_to=row.reply_to,
            subject=row.subject,
            html_body=row.html_body,
            text_body=row.text_body,
            track_clicks=row.track_clicks,
        ),
        audience=Audience(AudienceType(row.audience_type), tuple(row.audience_statuses)),
    )


_HELD = "campaign_id = :campaign_id AND epoch = :epoch AND status = 'RUNNING'"
_PROGRESS = text(
    f"""
    UPDATE marketing_preflights
    SET fetched = :fetched, expected = :expected, lease_until = now() + :lease * interval '1 second'
    WHERE {_HELD}
    """
)
_FINISH = text(
    f"""
    UPDATE marketing_preflights
    SET status = 'DONE', report = :report, errors = :errors, finished_at = now(), due_at = NULL, lease_until = NULL
    WHERE {_HELD}
    """
).bindparams(bindparam("report", type_=JSON))
_FAIL = text(
    f"""
    UPDATE marketing_preflights
    SET status = 'FAILED', failure = :failure, finished_at = now(), due_at = NULL, lease_until = NULL
    WHERE {_HELD}
    """
)
_POSTPONE = text(
    f"""
    UPDATE marketing_preflights
    SET lease_until = NULL, due_at = now() + :delay * interval '1 second'
    WHERE {_HELD}
    """
)


def _key(attempt: PreflightAttempt) -> dict[str, object]:
    return {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch}


async def note_progress(
    connection: AsyncConnection, attempt: PreflightAttempt, *, fetched: int, expected: int, lease: float
) -> bool:
    """Note how far it came, and hold it for another `lease` seconds. False where it is not ours any more."""
    values = _key(attempt) | {"fetched": fetched, "expected": expected, "lease": lease}
    return (await connection.execute(_PROGRESS, values)).rowcount == 1


async def finish_preflight(connection: AsyncConnection, attempt: PreflightAttempt, report: PreflightReport) -> bool:
    """Keep the report. False where the check is not ours any more."""
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    values = _key(attempt) | {"report": _REPORT.dump_python(report, mode="json"), "errors": errors}
    return (await connection.execute(_FINISH, values)).rowcount == 1


async def fail_preflight(connection: AsyncConnection, attempt: PreflightAttempt, failure: str) -> None:
    """Give up, for a reason that a person can read."""
    await connection.execute(_FAIL, _key(attempt) | {"failure": failure})


async def postpone_preflight(connection: AsyncConnection, attempt: PreflightAttempt, *, delay: float) -> None:
    """Let go of it; the next attempt is due in `delay` seconds."""
    await connection.execute(_POSTPONE, _key(attempt) | {"delay": delay})


_DUE = text(
    """
    SELECT campaign_id, epoch FROM marketing_preflights
    WHERE due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    """
)


async def due_preflights(connection: AsyncConnection) -> list[tuple[UUID, int]]:
    """The checks nobody holds and whose next attempt is due: campaign and the epoch of the last attempt."""
    return [(row.campaign_id, row.epoch) for row in await connection.execute(_DUE)]


# The middle eight tenths of the first 10,000 sends of each of the last three campaigns that had at least 1,000: the
# ends, where workers warm up and wait for stragglers, would say too little, and so would what is tried again.
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
    """How many messages a second the last campaigns went out at; None while there has been none of some size."""
    pace = (await connection.execute(_PACE)).scalar_one()
    return None if pace is None else float(pace)
