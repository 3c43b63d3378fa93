"""The statements of `store/batches.py`, and the two database functions that release a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from marketing_service.store.batches import BATCH_SIZE
from simulation.model.answers import Answer, Record
from simulation.model.rows import Batch, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from simulation.model.rows import Campaign, Send
    from simulation.model.work import Work

_MINUTE = 60.0


def take(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None:
        return Answer()
    batches, window = work.batches(campaign.id), parameters["window"]
    in_queue = [batch for batch in batches if batch.enqueued_at is not None and batch.lease_until is None]
    lost = [b for b in in_queue if (b.enqueued_at or 0.0) < work.started - parameters["requeue_after"]]
    free = [batch for batch in batches if batch.enqueued_at is None]
    retries = [batch for batch in free if batch.number >= campaign.first_retry_batch][:window]
    firsts = [batch for batch in free if batch.number < campaign.first_retry_batch][:window]
    places = [(2 * place + 1, batch) for place, batch in enumerate(retries)]
    places += [(2 * place + 2, batch) for place, batch in enumerate(firsts)]
    places.sort(key=lambda place: place[0])
    chosen = [batch for _, batch in places[: max(0, window - len(in_queue))]]
    rows = []
    for batch in (*lost, *chosen):
        work.put(replace(batch, enqueued_at=work.now, enqueue_count=batch.enqueue_count + 1))
        rows.append(
            Record.of(
                number=batch.number,
                enqueue_count=batch.enqueue_count + 1,
                again=batch.enqueued_at is not None,
                waiting=len(in_queue),
            )
        )
    return Answer(rows)


def claim(work: Work, parameters: Mapping[str, Any]) -> Answer:
    batch = work.batch(parameters["campaign_id"], parameters["number"])
    if batch is None or work.lock(batch).lease_until is not None:
        return Answer()
    return Answer([_claimed(work, batch, parameters["lease"])])


def _claimed(work: Work, batch: Batch, lease: float) -> Record:
    enqueued_at = work.now if batch.enqueued_at is None else batch.enqueued_at
    work.put(replace(batch, epoch=batch.epoch + 1, lease_until=work.now + lease, enqueued_at=enqueued_at))
    return Record.of(org_id=batch.org_id, epoch=batch.epoch + 1)


def waiting(work: Work, parameters: Mapping[str, Any]) -> Answer:
    return Answer([Record.of(**_person(send)) for send in _waiting_in(work, **parameters)])


def _waiting_in(work: Work, campaign_id: UUID, number: int) -> list[Send]:
    return [send for send in work.sends(campaign_id) if send.batch == number and send.is_waiting]


def _person(send: Send) -> dict[str, Any]:
    return {"id": send.id, "email": send.email, "first_name": None, "last_name": None, "company_name": None}


def renew(work: Work, parameters: Mapping[str, Any]) -> Answer:
    kept = []
    for campaign_id, number, epoch in zip(
        parameters["campaigns"], parameters["numbers"], parameters["epochs"], strict=True
    ):
        batch = work.batch(campaign_id, number)
        if batch is not None and batch.epoch == epoch and batch.lease_until is not None:
            work.put(replace(batch, lease_until=work.now + parameters["lease"]))
            kept.append(Record.of(org_id=batch.org_id, campaign_id=campaign_id, number=number, epoch=epoch))
    return Answer(kept)


def release(work: Work, parameters: Mapping[str, Any]) -> Answer:
    _release(work, **parameters)
    return Answer.value(None)


def _release(work: Work, campaign_id: UUID, number: int, epoch: int) -> None:
    campaign = work.campaign(campaign_id)
    if campaign is not None:
        work.lock(campaign)
    batch = work.batch(campaign_id, number)
    if batch is None or batch.epoch != epoch:
        return
    states = {send.status for send in work.sends(campaign_id) if send.batch == number}
    if "SENDING" in states:  # a mark whose result is missing: the lease ends now, and the sweep settles it
        work.put(replace(batch, enqueued_at=None, lease_until=work.now))
    elif states & {"QUEUED", "DEFERRED"}:
        work.put(replace(batch, epoch=batch.epoch + 1, enqueued_at=None, lease_until=None))
    else:
        work.delete(batch)


def release_and_claim_next(work: Work, arguments: Sequence[Any]) -> Record:
    campaign_id, done_number, done_epoch, lease = arguments
    _release(work, campaign_id, done_number, done_epoch)
    campaign = work.campaign(campaign_id)
    batch = None if campaign is None else _next_batch(work, campaign, done_number)
    if batch is None:
        return Record.of(
            org_id=None, number=None, epoch=None, ids=None, emails=None, first_names=None, last_names=None,
            company_names=None,
        )  # fmt: skip
    work.put(replace(batch, epoch=batch.epoch + 1, lease_until=work.now + lease, enqueued_at=work.now))
    sends = _waiting_in(work, campaign_id, batch.number)
    nothing = [None] * len(sends)
    return Record.of(
        org_id=batch.org_id,
        number=batch.number,
        epoch=batch.epoch + 1,
        ids=[send.id for send in sends],
        emails=[send.email for send in sends] or None,
        first_names=nothing or None,
        last_names=nothing or None,
        company_names=nothing or None,
    )


def _next_batch(work: Work, campaign: Campaign, done_number: int) -> Batch | None:
    if not campaign.may_mark or any(
        other.lease_until is None
        and other.campaign_id != campaign.id
        and other.enqueued_at is not None
        and other.enqueued_at > work.started - _MINUTE
        for other in work.every(Table.BATCHES)
    ):
        return None
    free = [b for b in work.batches(campaign.id) if b.enqueued_at is None and b.lease_until is None]
    retries = [batch for batch in free if batch.number >= campaign.first_retry_batch]
    if done_number < campaign.first_retry_batch and retries:
        return retries[0]
    return free[0] if free else None


def requeue_later(work: Work, parameters: Mapping[str, Any]) -> Answer:
    batch = work.batch(parameters["campaign_id"], parameters["number"])
    if batch is not None and batch.lease_until is None:
        work.put(replace(batch, enqueued_at=work.now + parameters["ahead"]))
    return Answer()


def postpone(work: Work, parameters: Mapping[str, Any]) -> Answer:
    batch = work.batch(parameters["campaign_id"], parameters["number"])
    if batch is None or batch.epoch != parameters["epoch"]:
        return Answer()
    for send_id, delay in zip(parameters["ids"], parameters["delays"], strict=True):
        send: Send | None = work.find(Table.SENDS, send_id)
        if send is not None and send.batch == batch.number and send.is_waiting:
            work.put(replace(send, batch=None, due_at=work.now + delay))
    return Answer()


def campaigns_with_expired_leases(work: Work, _parameters: object) -> Answer:
    expired = {
        batch.campaign_id
        for batch in work.every(Table.BATCHES)
        if batch.lease_until is not None and batch.lease_until < work.now
    }
    return Answer([Record.of(campaign_id=campaign_id) for campaign_id in sorted(expired)])


def campaigns_with_due_sends(work: Work, _parameters: object) -> Answer:
    due = {
        send.campaign_id
        for send in work.every(Table.SENDS)
        if send.due_at is not None and send.due_at <= work.started and _may_mark(work, send.campaign_id)
    }
    return Answer([Record.of(campaign_id=campaign_id) for campaign_id in sorted(due)])


def _may_mark(work: Work, campaign_id: UUID) -> bool:
    campaign = work.campaign(campaign_id)
    return campaign is not None and campaign.may_mark


def gather(work: Work, parameters: Mapping[str, Any]) -> Answer:
    campaign = work.campaign(parameters["campaign_id"])
    if campaign is None:
        return Answer()
    due = [s for s in work.sends(campaign.id) if s.due_at is not None and s.due_at <= work.started]
    due.sort(key=lambda send: (send.due_at, send.id.int))
    due = due[: parameters["limit"]]
    numbers: dict[int, None] = {}
    for place, send in enumerate(due):
        number = campaign.next_batch + place // BATCH_SIZE
        numbers[number] = None
        work.put(replace(send, due_at=None, batch=number))
    work.put(replace(campaign, next_batch=campaign.next_batch + len(numbers)))
    for number in numbers:
        work.put(Batch(campaign.org_id, campaign.id, number))
    return Answer()


def settle_batches(work: Work, parameters: Mapping[str, Any]) -> Answer:
    rows = []
    for batch in work.batches(parameters["campaign_id"]):
        if batch.lease_until is not None and batch.lease_until < work.now:
            work.put(replace(batch, epoch=batch.epoch + 1, lease_until=None, enqueued_at=None))
            rows.append(Record.of(number=batch.number))
    return Answer(rows)


def drop_empty(work: Work, parameters: Mapping[str, Any]) -> Answer:
    """Delete batches without an unsettled send: the named ones, or those up to a number that are not leased."""
    numbers, last = parameters.get("numbers"), parameters.get("last_batch", 0)
    unsettled = {send.batch for send in work.sends(parameters["campaign_id"]) if send.is_unsettled}
    for batch in work.batches(parameters["campaign_id"]):
        is_free = batch.lease_until is None and batch.number <= last
        is_named = is_free if numbers is None else batch.number in numbers
        if is_named and batch.number not in unsettled:
            work.delete(batch)
    return Answer()
