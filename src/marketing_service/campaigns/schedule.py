"""Schedule: a draft is launched by itself at a time. `launching/scheduled_launches.py` launches it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from marketing_service.campaigns import drafts
from marketing_service.campaigns.audit import record
from marketing_service.campaigns.local_times import NoSuchLocalTime, NoSuchTimeZone, moment_of, time_zone
from marketing_service.errors import FieldError, InvalidInput
from marketing_service.store import schedules
from marketing_service.store.audit import Action
from marketing_service.store.campaigns import Schedule

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any
    from uuid import UUID

    from marketing_service.db import Transaction
    from marketing_service.store.audit import Actor
    from marketing_service.store.campaigns import Campaign


async def schedule(
    tx: Transaction,
    actor: Actor,
    campaign_id: UUID,
    *,
    at: datetime,
    zone: str | None,
    versions: Collection[int] | None = None,
) -> Campaign:
    """Have a DRAFT launched at a time: `at` has an offset from UTC, or is the local time of the time zone `zone`.

    Raises NotFound, WrongState, StaleVersion; InvalidInput if the time is past, more than a year ahead, or skipped by
    the clocks of the zone.
    """
    before = await drafts.editable(tx, actor.org_id, campaign_id, versions)
    now, in_a_year = await schedules.clock(tx.connection)
    wanted = Schedule(_moment(at, zone, now, in_a_year), zone)
    # The same schedule again changes nothing that a person can see, so it is not an act.
    if before.schedule == wanted:
        return before
    await schedules.set_schedule(tx.connection, campaign_id, wanted)
    await record(tx, actor, Action.SCHEDULED, campaign_id, **schedule_details(wanted))
    return await drafts.get(tx, actor.org_id, campaign_id)


async def unschedule(
    tx: Transaction, actor: Actor, campaign_id: UUID, *, versions: Collection[int] | None = None
) -> Campaign:
    """Remove the schedule of a DRAFT, and the problem of its last schedule. Raises NotFound, WrongState,
    StaleVersion."""
    before = await drafts.editable(tx, actor.org_id, campaign_id, versions)
    if before.schedule is None and before.schedule_problem is None:
        return before
    await schedules.set_schedule(tx.connection, campaign_id, None)
    await record(
        tx,
        actor,
        Action.UNSCHEDULED,
        campaign_id,
        **({} if before.schedule is None else schedule_details(before.schedule)),
    )
    return await drafts.get(tx, actor.org_id, campaign_id)


def schedule_details(schedule: Schedule) -> dict[str, Any]:
    """What an entry of the audit trail says about a schedule."""
    return {"scheduledAt": schedule.at.isoformat(), "scheduledTimeZone": schedule.time_zone}


def _moment(at: datetime, zone: str | None, now: datetime, in_a_year: datetime) -> datetime:
    """The moment in UTC. Raises InvalidInput."""
    if at.tzinfo is not None and zone is not None:
        message = "must be left out, because `at` has an offset from UTC."
        raise InvalidInput(FieldError("timeZone", message, "time-zone"))
    if at.tzinfo is None and zone is None:
        message = "is required, because `at` has no offset from UTC. Use a name such as Europe/London."
        raise InvalidInput(FieldError("timeZone", message, "required"))
    # Years far away cannot be converted to UTC.
    if at.year < now.year - 1:
        raise _past(now)
    if at.year > in_a_year.year + 1:
        raise _too_far(in_a_year)
    moment = at.astimezone(UTC) if zone is None else _local(at, zone)
    if moment <= now:
        raise _past(now)
    if moment > in_a_year:
        raise _too_far(in_a_year)
    return moment


def _local(at: datetime, zone: str) -> datetime:
    try:
        return moment_of(at, time_zone(zone))
    except NoSuchTimeZone as error:
        hint = "Use a name such as Europe/London." if error.similar is None else f"Use {error.similar}?"
        raise InvalidInput(FieldError("timeZone", f"is not the name of a time zone. {hint}", "time-zone")) from None
    except NoSuchLocalTime as error:
        message = (
            f"does not exist in {zone}, because the clocks skip it. The next local time that exists is"
            f" {error.next.isoformat()}."
        )
        raise InvalidInput(FieldError("at", message, "no-such-local-time")) from None


def _past(now: datetime) -> InvalidInput:
    message = f"must be in the future. It is {now.isoformat(timespec='seconds')} now."
    return InvalidInput(FieldError("at", message, "out-of-range"))


def _too_far(in_a_year: datetime) -> InvalidInput:
    message = f"must be at most a year ahead: at {in_a_year.isoformat(timespec='seconds')} or before."
    return InvalidInput(FieldError("at", message, "out-of-range"))
