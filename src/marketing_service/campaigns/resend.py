"""Resend: requeues one FAILED or UNCONFIRMED send on request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from marketing_service.addresses import is_findable
from marketing_service.campaigns import email_log
from marketing_service.campaigns.audit import record
from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.ledger.resend import RESENDABLE, requeue
from marketing_service.ports import AudienceError, AudienceUnavailable
from marketing_service.store import opt_outs
from marketing_service.store.audit import Action
from marketing_service.store.sends import resend_candidate
from marketing_service.store.suppressions import suppressed_among

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.addresses import MailboxKey
    from marketing_service.db import OnResult, Transaction, Transactions
    from marketing_service.ports import AudienceSource, Contact
    from marketing_service.store.audit import Actor
    from marketing_service.store.email_log import LogEntry


async def resend(
    transactions: Transactions,
    audience: AudienceSource,
    *,
    actor: Actor,
    campaign_id: UUID,
    send_id: UUID,
    on_result: OnResult[LogEntry] | None = None,
) -> LogEntry:
    """Requeue the send and return its entry of the email log. The next sweep enqueues its batch. Calls `on_result` in
    the same transaction.

    Raises NotFound; WrongState if the send is not FAILED or UNCONFIRMED, if the contact has opted out or is not in the
    CRM any more, or if the address is suppressed; Unavailable if PostgreSQL or the CRM does not answer.
    """
    org_id = actor.org_id
    async with transactions(org_id) as tx:
        send = await resend_candidate(tx.connection, org_id=org_id, campaign_id=campaign_id, send_id=send_id)
    if send is None:
        raise NotFound("There is no such send in this campaign. Check the ids.")
    if send.status not in RESENDABLE:
        raise WrongState(f"This send is {send.status}. Only a FAILED or UNCONFIRMED send can be resent.")
    read_at = datetime.now(UTC)
    try:
        contact = await audience.contact(org_id, send.contact_id)
    except AudienceUnavailable as error:
        raise Unavailable("the CRM") from error
    except AudienceError as error:
        raise Unavailable(
            "the CRM",
            f"The CRM refused the request for this contact, so it is not known whether it may be mailed: {error}",
        ) from error
    if contact is None:
        raise WrongState("The contact is no longer in the CRM, so it cannot be mailed.")
    if contact.marketing_opt_out:
        raise WrongState("The contact has opted out, so it cannot be mailed.")
    async with transactions(org_id) as tx:
        await _refuse_unless_mailable(tx, org_id, send.address, contact, read_at)
        if not await requeue(tx.connection, campaign_id=campaign_id, send_id=send_id, read_at=read_at):
            raise WrongState("The send was changed at the same time. Read it again.")
        entry = await email_log.entry(tx, org_id, campaign_id, send_id)
        await record(tx, actor, Action.RESENT, campaign_id, sendId=str(send_id), status=send.status)
        if on_result is not None:
            await on_result(tx, entry)
        return entry


async def _refuse_unless_mailable(
    tx: Transaction, org_id: str, address: MailboxKey, contact: Contact, read_at: datetime
) -> None:
    """Raises WrongState if the address is suppressed, if an opt-out here is newer than the CRM's data of `read_at`, or
    if an opt-out could not be brought to this contact."""
    unfindable = [] if is_findable(contact.email or "", address) else [(contact.id, address)]
    if await opt_outs.is_blocked(
        tx.connection, org_id=org_id, address=address, read_at=read_at
    ) or await opt_outs.missed_among(tx.connection, org_id=org_id, unfindable=unfindable):
        raise WrongState("The contact has opted out, so it cannot be mailed.")
    if await suppressed_among(tx.connection, org_id=org_id, addresses=(address,)):
        raise WrongState("The address is on the suppression list. Remove it from the list first.")
