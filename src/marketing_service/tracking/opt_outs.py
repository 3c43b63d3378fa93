"""Opt-outs: recorded before the response is sent, then written to the CRM until the CRM has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.backoff import ExponentialBackoff
from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.ports import AudienceError
from marketing_service.store import opt_outs as store
from marketing_service.store.sends import organisation_of_send, reported_send

if TYPE_CHECKING:
    from uuid import UUID

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


async def opt_out(transactions: Transactions, job_queue: JobQueue, send_id: UUID) -> bool:
    """Record that the send's address must get no more mail. False if there is no such send.

    The opt-out is committed when this returns. Every waiting send to the address is skipped, in all campaigns of the
    organisation. Raises Unavailable.
    """
    async with transactions() as tx:
        org_id = await organisation_of_send(tx.connection, send_id)
    if org_id is None:
        return False
    async with transactions(org_id) as tx:
        send = await reported_send(tx.connection, send_id)
        if send is None:
            return False
        await record_opt_out(
            tx.connection, org_id=org_id, campaign_id=send.campaign_id, send_id=send_id, address=send.address
        )
        tx.after_commit(job_queue.enqueue_opt_outs)
    return True


async def write_opt_outs_to_crm(transactions: Transactions, audience: AudienceSource) -> None:
    """Write every due opt-out to all contacts with its address. An opt-out that the CRM refuses is tried again later,
    without a limit on the number of tries. Raises Unavailable if PostgreSQL does not answer."""
    while True:
        async with transactions() as tx:
            due = await store.take_due_opt_outs(tx.connection, limit=_BATCH_SIZE, lease=_LEASE)
        refused: list[tuple[PendingOptOut, float]] = []
        for pending in due:
            try:
                await _write(audience, pending)
            except AudienceError as error:
                delay = _BACKOFF.delay(pending.tries + 1)
                log.warning("opt_out_not_in_crm", tries=pending.tries + 1, retry_in=delay, reason=str(error))
                refused.append((pending, delay))
            else:
                async with transactions() as tx:
                    await store.confirm_opt_out(tx.connection, pending)
        async with transactions() as tx:
            await store.postpone_opt_outs(tx.connection, refused)
        if len(due) < _BATCH_SIZE:
            return


async def _write(audience: AudienceSource, pending: PendingOptOut) -> None:
    known = await audience.contacts_with_email(pending.org_id, pending.address)
    opted_out = {contact.id for contact in known if contact.marketing_opt_out}
    for contact_id in sorted({*pending.contact_ids, *(contact.id for contact in known)} - opted_out):
        # For a contact that no longer exists, this does nothing.
        await audience.opt_out(pending.org_id, contact_id)
