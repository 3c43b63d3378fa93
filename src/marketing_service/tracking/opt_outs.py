"""Opt-outs: recorded in the transaction that answers, then brought to the CRM until it has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from marketing_service.ledger.opt_outs import record_opt_out
from marketing_service.ports import AudienceError
from marketing_service.store import opt_outs as store
from marketing_service.store.sends import reported_send
from marketing_service.tracking.public import organisation_of

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.db import Transactions
    from marketing_service.ports import AudienceSource, JobQueue
    from marketing_service.store.opt_outs import PendingOptOut

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_LEASE_SECONDS = 120.0
_FIRST_PAUSE = 2.0
_MAX_PAUSE = 900.0


async def send_exists(transactions: Transactions, send_id: UUID) -> bool:
    """Whether a link that names this send leads anywhere. Raises Unavailable."""
    return await organisation_of(transactions, send_id) is not None


async def opt_out(transactions: Transactions, job_queue: JobQueue, send_id: UUID) -> bool:
    """Record that the send's address wants no more mail; False where there is no such send.

    Committed when it returns. Whatever waits for the address, in any campaign of the organisation, is skipped.
    Raises Unavailable.
    """
    org_id = await organisation_of(transactions, send_id)
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


async def bring_opt_outs_to_crm(transactions: Transactions, audience: AudienceSource) -> None:
    """Write every due opt-out to all contacts known to have its address; what the CRM does not take is due
    again later, for as long as it takes. Raises Unavailable when PostgreSQL does not answer."""
    while True:
        async with transactions() as tx:
            due = await store.take_due_opt_outs(tx.connection, limit=_AT_ONCE, lease=_LEASE_SECONDS)
        refused: list[tuple[PendingOptOut, float]] = []
        for pending in due:
            try:
                await _write(audience, pending)
            except AudienceError as error:
                delay = min(_FIRST_PAUSE * 2.0 ** min(pending.tries, 20), _MAX_PAUSE)
                log.warning("opt_out_not_in_crm", tries=pending.tries + 1, again_in=delay, reason=str(error))
                refused.append((pending, delay))
            else:
                async with transactions() as tx:
                    await store.confirm_opt_out(tx.connection, pending)
        async with transactions() as tx:
            await store.postpone_opt_outs(tx.connection, refused)
        if len(due) < _AT_ONCE:
            return


async def _write(audience: AudienceSource, pending: PendingOptOut) -> None:
    known = await audience.contacts_with_email(pending.org_id, pending.address)
    opted_out = {contact.id for contact in known if contact.marketing_opt_out}
    for contact_id in sorted({*pending.contact_ids, *(contact.id for contact in known)} - opted_out):
        # A contact that is gone needs no flag.
        await audience.opt_out(pending.org_id, contact_id)
