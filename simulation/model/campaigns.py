"""The statements of `ledger/lifecycle.py`, `store/campaigns.py` and `store/relay_pauses.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.model.answers import Answer, Record
from simulation.model.counters import move
from simulation.model.rows import RelayPause, RelayProbe, RelayThrottle, Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from simulation.model.rows import Campaign, Send
    from simulation.model.work import Work


def lock(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None:
        return Answer()
    work.lock(campaign)
    return Answer(
        [
            Record.of(
                id=campaign.id,
                org_id=campaign.org_id,
                status=campaign.status,
                expanded_at=campaign.expanded_at,
                paused_at=campaign.paused_at,
                cancelled_at=campaign.cancelled_at,
                may_mark=campaign.may_mark,
            )
        ]
    )


def active(work: Work, _parameters: object) -> Answer:
    return Answer(
        [
            Record.of(id=campaign.id, cancelled=campaign.cancelled_at is not None)
            for campaign in work.every(Table.CAMPAIGNS)
            if campaign.status == "SENDING"
            and campaign.expanded_at is not None
            and (campaign.paused_at is None or campaign.cancelled_at is not None)
        ]
    )


def pause(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign, reason = work.campaign(parameters["campaign_id"]), parameters["reason"]
    if campaign is None or campaign.status != "SENDING" or work.lock(campaign).cancelled_at is not None:
        return Answer()
    if campaign.paused_at is not None and reason != "USER":
        return Answer()
    paused_at = work.now if campaign.paused_at is None else campaign.paused_at
    work.put(replace(campaign, paused_at=paused_at, pause_reason=str(reason), version=campaign.version + 1))
    return Answer(rowcount=1)


def resume(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None or campaign.status != "SENDING" or campaign.cancelled_at is not None:
        return Answer()
    return _resumed(work, campaign)


def resume_after_relay(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None or campaign.status != "SENDING" or not (campaign.pause_reason or "").startswith("RELAY"):
        return Answer()
    return _resumed(work, campaign)


def _resumed(work: Work, campaign: Campaign) -> Answer:
    work.put(replace(campaign, paused_at=None, pause_reason=None, version=campaign.version + 1))
    return Answer(rowcount=1)


def cancel(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None:
        return Answer()
    is_sent = campaign.expanded_at is None
    work.put(
        replace(
            campaign,
            cancelled_at=work.now,
            paused_at=None,
            pause_reason=None,
            version=campaign.version + 1,
            status="SENT" if is_sent else campaign.status,
            sent_at=work.now if is_sent else campaign.sent_at,
        )
    )
    return Answer(rowcount=1)


def skip_cancelled_with_due_time(work: Work, parameters: Mapping[str, Any]) -> Answer:
    due = [send for send in _cancelled(work, parameters["campaign_id"]) if send.due_at is not None]
    return Answer.value(move(work, parameters["campaign_id"], _skipped(due[: parameters["limit"]], "CANCELLED")))


def skip_cancelled_in_batches(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign_id = parameters["campaign_id"]
    cancelled = _cancelled(work, campaign_id)
    in_batches = {send.batch for send in cancelled}
    numbers = [batch.number for batch in work.batches(campaign_id) if batch.number in in_batches]
    numbers = numbers[: parameters["batches"]]
    moved = move(work, campaign_id, _skipped([send for send in cancelled if send.batch in numbers], "CANCELLED"))
    return Answer([Record.of(sends=moved, last_batch=max(numbers, default=None))])


def _cancelled(work: Work, campaign_id: UUID) -> list[Send]:
    """The waiting sends that a cancel applies to."""
    campaign = work.campaign(campaign_id)
    if campaign is None or campaign.cancelled_at is None:
        return []
    return [send for send in work.sends(campaign_id) if send.is_waiting and send.queued_at <= campaign.cancelled_at]


def _skipped(sends: list[Send], reason: str) -> list[tuple[Send, Send]]:
    return [(send, replace(send, status="SKIPPED", reason=reason, due_at=None)) for send in sends]


def skip_address(work: Work, campaign_id: UUID, addresses: list[str], reason: str) -> Answer:
    """Skip what waits for these addresses."""
    waiting = [send for send in work.sends(campaign_id) if send.is_waiting and send.address in addresses]
    return Answer.value(move(work, campaign_id, _skipped(waiting, reason)))


# ── pauses because of the relay ──


def record_pause(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None:
        return Answer()
    before: RelayPause | None = work.find(Table.PAUSES, campaign.id)
    is_first = before is None or campaign.delivered > before.delivered
    pauses = 1 if before is None or is_first else before.pauses + 1
    first, maximum = parameters["first"], parameters["maximum"]
    probe_at = None
    if first is not None:
        power = 0 if before is None or is_first else min(before.pauses, 30)
        probe_at = work.now + (first if before is None else min(first * 2.0**power, maximum))
    work.put(RelayPause(campaign.id, parameters["message"], pauses, campaign.delivered, probe_at))
    return Answer(rowcount=1)


def lease_probe(work: Work, parameters: Mapping[str, Any]) -> Answer:
    probe: RelayProbe | None = work.find(Table.PROBE, 1)
    if probe is not None and work.lock(probe).lease_until >= work.now:
        return Answer()
    work.put(RelayProbe(work.now + parameters["seconds"]))
    return Answer.value(1)


def release_probe(work: Work, _parameters: object) -> Answer:
    if work.find(Table.PROBE, 1) is not None:
        work.put(RelayProbe(work.now))
    return Answer()


def due_probes(work: Work, parameters: Mapping[str, Any]) -> Answer:
    due = []
    for pause_row in work.every(Table.PAUSES):
        campaign = work.campaign(pause_row.campaign_id)
        if (
            campaign is not None
            and campaign.status == "SENDING"
            and (campaign.pause_reason or "").startswith("RELAY")
            and pause_row.probe_at is not None
            and pause_row.probe_at <= work.now
        ):
            due.append((pause_row, campaign))
    due.sort(key=lambda found: (found[0].probe_at, found[1].id.int))
    return Answer(
        [
            Record.of(id=c.id, from_email=c.from_email, reason=c.pause_reason, pauses=pause_row.pauses)
            for pause_row, c in due[: parameters["limit"]]
        ]
    )


def postpone_probe(work: Work, parameters: Mapping[str, Any]) -> Answer:
    before: RelayPause | None = work.find(Table.PAUSES, parameters["campaign_id"])
    if before is None:
        return Answer()
    delay = min(parameters["first"] * 2.0 ** min(before.pauses, 30), parameters["maximum"])
    message = before.message if parameters["message"] is None else parameters["message"]
    work.put(replace(before, pauses=before.pauses + 1, message=message, probe_at=work.now + delay))
    return Answer()


def report_throttle(work: Work, parameters: Mapping[str, Any]) -> Answer:
    reported = []
    for campaign_id in parameters["campaign_ids"]:
        campaign = work.campaign(campaign_id)
        if campaign is not None and campaign.status == "SENDING" and campaign.paused_at is None:
            work.put(RelayThrottle(campaign_id, parameters["connections"], parameters["rate"], work.now))
            reported.append(Record.of(campaign_id=campaign_id))
    return Answer(reported)


def end_throttle(work: Work, parameters: Mapping[str, Any]) -> Answer:
    for campaign_id in parameters["campaign_ids"]:
        throttle: RelayThrottle | None = work.find(Table.THROTTLES, campaign_id)
        if throttle is not None:
            work.delete(throttle)
    return Answer()
