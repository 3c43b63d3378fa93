"""`marketing_commit_results_v2`, and the other statements of `ledger/commit_results.py`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from simulation.model.answers import Answer, Record
from simulation.model.counters import move
from simulation.model.rows import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from simulation.model.rows import Campaign, OptOut, Send
    from simulation.model.work import Work


def commit_results(work: Work, arguments: Sequence[Any]) -> Record:
    campaign_id, *columns = arguments
    results, wanted = list(zip(*columns[:10], strict=True)), list(zip(*columns[10:], strict=True))
    campaign = work.campaign(campaign_id)
    if campaign is None:
        return _answer(may_mark=False, is_cancelled=False, recorded=[], marked=[])
    work.lock(campaign)
    recorded = _once_each(moved for result in results if (moved := _recorded(work, *result)) is not None)
    marked = _once_each(moved for mark in wanted if (moved := _marked(work, campaign, *mark)) is not None)
    move(work, campaign_id, [*recorded, *marked])
    return _answer(
        may_mark=campaign.may_mark,
        is_cancelled=campaign.cancelled_at is not None,
        recorded=[new.id for _, new in recorded],
        marked=[new for _, new in marked if new.status == "SENDING"],
    )


def _once_each(moves: Iterable[tuple[Send, Send]]) -> list[tuple[Send, Send]]:
    """An UPDATE moves a row once, however often it is named."""
    return list({old.id: (old, new) for old, new in moves}.values())


def _answer(*, may_mark: bool, is_cancelled: bool, recorded: list[UUID], marked: list[Send]) -> Record:
    return Record.of(
        may_mark=may_mark,
        is_cancelled=is_cancelled,
        recorded_ids=recorded,
        marked_ids=[send.id for send in marked],
        marked_attempts=[send.attempts for send in marked],
        marked_tries=[send.tries for send in marked],
        first_marked_at=[datetime.fromtimestamp(send.marked_at or 0.0, UTC) for send in marked],
    )


def _recorded(
    work: Work,
    send_id: UUID,
    batch_number: int,
    epoch: int,
    attempt: int,
    status: str,
    reason: str | None,
    smtp_code: int | None,
    enhanced_code: str | None,
    error_message: str | None,
    delay: float | None,
) -> tuple[Send, Send] | None:
    send: Send | None = work.find(Table.SENDS, send_id)
    if send is None or send.batch != batch_number or send.attempts != attempt:
        return None
    batch = work.batch(send.campaign_id, batch_number)
    is_ours = batch is not None and batch.epoch == epoch
    is_late_proof = send.status == "UNCONFIRMED" and status == "DELIVERED"
    if not ((send.status == "SENDING" and is_ours) or is_late_proof):
        return None
    if send.email in work.refused_values and status != "UNCONFIRMED":
        raise asyncpg.DataError("a value is out of range")
    was_not_submitted = status == "QUEUED"
    return send, replace(
        send,
        status=str(status),
        reason=None if reason is None else str(reason),
        smtp_code=smtp_code,
        enhanced_code=enhanced_code,
        error_message=error_message,
        attempts=send.attempts - was_not_submitted,
        tries=send.tries - was_not_submitted,
        batch=None if status == "DEFERRED" else send.batch,
        due_at=work.now + (delay or 0.0) if status == "DEFERRED" else None,
        sent_at=work.now if status == "DELIVERED" and send.sent_at is None else send.sent_at,
        unconfirmed_at=work.now if status == "UNCONFIRMED" else send.unconfirmed_at,
    )


def _marked(work: Work, campaign: Campaign, send_id: UUID, batch_number: int, epoch: int) -> tuple[Send, Send] | None:
    send: Send | None = work.find(Table.SENDS, send_id)
    batch = work.batch(campaign.id, batch_number)
    if send is None or batch is None or batch.epoch != epoch:
        return None
    is_leased = batch.lease_until is not None and batch.lease_until > work.now
    is_cancelled = campaign.cancelled_at is not None and send.queued_at <= campaign.cancelled_at
    if not (campaign.may_mark and is_leased and send.batch == batch_number and send.is_waiting) or is_cancelled:
        return None
    skip = _skip_reason(work, campaign, send)
    if skip is not None:
        return send, replace(send, status="SKIPPED", reason=skip)
    marked_at = work.now if send.marked_at is None else send.marked_at
    return send, replace(
        send, status="SENDING", reason=None, attempts=send.attempts + 1, tries=send.tries + 1, marked_at=marked_at
    )


def _skip_reason(work: Work, campaign: Campaign, send: Send) -> str | None:
    opt_out: OptOut | None = work.find(Table.OPT_OUTS, (send.org_id, send.address))
    read_at = campaign.audience_read_at if send.consent_read_at is None else send.consent_read_at
    if opt_out is not None and (opt_out.confirmed_at is None or opt_out.confirmed_at > (read_at or 0.0)):
        return "OPTED_OUT"
    if work.find(Table.SUPPRESSIONS, (send.org_id, send.address)) is not None:
        return "SUPPRESSED"
    return None


def states(work: Work, arguments: Sequence[Any]) -> Record:
    campaign_id, ids = arguments
    found: list[Send] = [
        send
        for send_id in ids
        if (send := work.find(Table.SENDS, send_id)) is not None and send.campaign_id == campaign_id
    ]
    return Record.of(
        ids=[send.id for send in found],
        statuses=[send.status for send in found],
        attempts=[send.attempts for send in found],
    )


def requeue_unconfirmed(work: Work, parameters: Mapping[str, Any]) -> Answer:
    moves: list[tuple[Send, Send]] = []
    for send_id, delay in zip(parameters["ids"], parameters["delays"], strict=True):
        send: Send | None = work.find(Table.SENDS, send_id)
        if send is not None and send.campaign_id == parameters["campaign_id"] and send.status == "UNCONFIRMED":
            moves.append((send, replace(send, status="QUEUED", batch=None, due_at=work.now + delay)))
    return Answer.value(move(work, parameters["campaign_id"], moves))
