"""Resend: one failed or unconfirmed send goes out again, because somebody asked for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from marketing_service.errors import NotFound, Unavailable, WrongState
from marketing_service.ledger.resend import requeue
from marketing_service.ports import AudienceError, AudienceUnavailable
from marketing_service.store import opt_outs
from marketing_service.store.sends import resend_candidate
from marketing_service.store.states import SendStatus
from marketing_service.store.suppressions import suppressed_among

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.ports import AudienceSource

RESENDABLE = (SendStatus.FAILED, SendStatus.UNCONFIRMED)


async def resend(
    transactions: Transactions,
    audience: AudienceSource,
    *,
    org_id: str,
    campaign_id: UUID,
    send_id: UUID,
    on_result: Callable[[Transaction], Awaitable[None]] | None = None,
) -> None:
    """Queue the send again, and do `also` in the same transaction; the next sweep takes it up.

    Raises NotFound; WrongState unless it is FAILED or UNCONFIRMED, or when the contact has opted out or is gone
    from the CRM, or its address is suppressed; Unavailable when PostgreSQL or the CRM does not answer.
    """
    async with transactions(org_id) as tx:
        send = await resend_candidate(tx.connection, org_id=org_id, campaign_id=campaign_id, send_id=send_id)
    if send is None:
        raise NotFound("There is no such send in this campaign.")
    if send.status not in RESENDABLE:
        raise WrongState(f"Only a FAILED or UNCONFIRMED send can be resent; this one is {send.status}.")
    read_at = datetime.now(UTC)
    try:
        contact = await audience.contact(org_id, send.contact_id)
    except AudienceUnavailable as error:
        raise Unavailable("the CRM") from error
    except AudienceError as error:
        raise Unavailable("the CRM", f"The CRM refuses to say whether this contact may be mailed: {error}") from error
    if contact is None:
        raise WrongState("The contact is no longer in the CRM.")
    if contact.marketing_opt_out:
        raise WrongState("The contact has opted out.")
    async with transactions(org_id) as tx:
        await _refuse_unless_mailable(tx, org_id, send.address, read_at)
        if not await requeue(tx.connection, campaign_id=campaign_id, send_id=send_id, read_at=read_at):
            raise WrongState("The send has changed meanwhile; look at it again.")
        if on_result is not None:
            await on_result(tx)


async def _refuse_unless_mailable(tx: Transaction, org_id: str, address: str, read_at: datetime) -> None:
    """Raises WrongState where what is known here outweighs what the CRM said at `read_at`."""
    if await opt_outs.is_blocked(tx.connection, org_id=org_id, address=address, read_at=read_at):
        raise WrongState("The contact has opted out.")
    if await suppressed_among(tx.connection, org_id=org_id, addresses=(address,)):
        raise WrongState("The address is on the suppression list; take it off first.")
