"""Opt-outs: recorded before the response is sent, then written to the CRM until the CRM has them."""

from __future__ import annotations

import time
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.ports import AudienceError
from marketing_service.store import opt_outs as store
from marketing_service.store.sends import looks_automated, organisation_of_send, reported_send
from marketing_service.tracking.machines import machine_rules

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.db import Transactions
    from marketing_service.ports import AudienceSource, JobQueue
    from marketing_service.store.opt_outs import PendingOptOut

log = structlog.get_logger(__name__)

_BATCH_SIZE = 100
_LEASE = 120.0
"""Seconds for which a process owns the opt-outs that it has taken."""
_BACKOFF = ExponentialBackoff(first=2.0, maximum=900.0)


async def send_exists(transactions: Transactions, send_id: UUID) -> bool:
    """Whether there is a send with this id, in any organisation. Raises Unavailable."""
    async with transactions() as tx:
        return await organisation_of_send(tx.connection, send_id) is not None


class Following(Enum):
    """What following an unsubscribe link did."""

    OPTED_OUT = "OPTED_OUT"
    BY_MACHINE = "BY_MACHINE"
    """Nothing: a machine followed the link."""
    NO_SEND = "NO_SEND"


class _ByMachineError(Exception):
    """Rolls an opt-out back."""


async def opt_out(transactions: Transactions, job_queue: JobQueue, send_id: UUID) -> bool:
    """Record that the send's address must get no more mail. False if there is no such send.

    The opt-out is committed when this returns. Every waiting send to the address is skipped, in all campaigns of the
    organisation. Raises Unavailable.
    """
    return await follow_unsubscribe_link(transactions, job_queue, send_id, arrived=None) is Following.OPTED_OUT


async def follow_unsubscribe_link(
    transactions: Transactions, job_queue: JobQueue, send_id: UUID, *, arrived: float | None
) -> Following:
    """Opt out, as `opt_out` does, unless the send's row shows that a machine opens the link.

    It is a machine within seconds of the delivery, or if the pixel or another link of the send was requested in the
    second before. `arrived` is when the request arrived, by `time.monotonic()`; None if a person has pressed a button,
    which no machine does. Raises Unavailable.
    """
    async with transactions() as tx:
        org_id = await organisation_of_send(tx.connection, send_id)
    if org_id is None:
        return Following.NO_SEND
    try:
        async with transactions(org_id) as tx:
            await _refuse_machine(tx.connection, send_id, arrived)
            send = await reported_send(tx.connection, send_id)
            if send is None:
                return Following.NO_SEND
            await record_opt_out(
                tx.connection, org_id=org_id, campaign_id=send.campaign_id, send_id=send_id, address=send.address
            )
            # Again, because another request of the send may have been recorded meanwhile. None can be recorded between
            # this check and the commit: the send's row is locked.
            await _refuse_machine(tx.connection, send_id, arrived)
            tx.after_commit(job_queue.enqueue_opt_outs)
    except _ByMachineError:
        return Following.BY_MACHINE
    return Following.OPTED_OUT


async def _refuse_machine(connection: AsyncConnection, send_id: UUID, arrived: float | None) -> None:
    """Raises _ByMachineError."""
    if arrived is None:
        return
    rules = machine_rules()
    # The rules are about the moment at which the request arrived. Waits for connections and locks must not make a
    # machine look slow.
    waited = time.monotonic() - arrived
    is_soon, is_together = await looks_automated(
        connection,
        send_id,
        soon_seconds=rules.soon.seconds + waited,
        together_seconds=rules.together.seconds + waited,
    )
    if is_soon or is_together:
        log.info("unsubscribe_link_by_machine", reason=rules.soon.reason if is_soon else rules.together.reason)
        raise _ByMachineError


async def write_opt_outs_to_crm(transactions: Transactions, audience: AudienceSource) -> None:
    """Write every due opt-out to all contacts with its address. An opt-out that the CRM refuses is tried again later,
    without a limit on the number of tries. Raises Unavailable if PostgreSQL does not answer."""
    while True:
        async with transactions() as tx:
            due = await store.take_due_opt_outs(tx.connection, limit=_BATCH_SIZE, lease=_LEASE)
        refused: list[tuple[PendingOptOut, float]] = []
        for pending in due:
            try:
                found = await _write(audience, pending)
            except AudienceError as error:
                delay = _BACKOFF.delay(pending.tries + 1)
                log.warning("opt_out_not_in_crm", tries=pending.tries + 1, retry_in=delay, reason=str(error))
                refused.append((pending, delay))
            else:
                async with transactions() as tx:
                    await store.confirm_opt_out(tx.connection, pending, found=found)
        async with transactions() as tx:
            await store.postpone_opt_outs(tx.connection, refused)
        if len(due) < _BATCH_SIZE:
            return


async def _write(audience: AudienceSource, pending: PendingOptOut) -> set[str]:
    """Returns the ids of the contacts that were found by their address."""
    known = await audience.contacts_with_email(pending.org_id, pending.address)
    opted_out = {contact.id for contact in known if contact.marketing_opt_out}
    for contact_id in sorted({*pending.contact_ids, *(contact.id for contact in known)} - opted_out):
        # For a contact that no longer exists, this does nothing.
        await audience.opt_out(pending.org_id, contact_id)
    return {contact.id for contact in known}
