"""The number of contacts in an audience now, shown while a draft is edited."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from marketing_service.addresses import read_address
from marketing_service.store import opt_outs
from marketing_service.store.suppressions import suppressed_among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.db import Transactions
    from marketing_service.ports import Audience, AudienceSource, Contact

SAMPLE_SIZE = 10
_MAX_SAMPLED = 50
"""Contacts requested for the sample. They are more than `SAMPLE_SIZE`, because some of them must not be mailed."""
_MAX_LOOKED_UP = 20


@dataclass(frozen=True, slots=True)
class AudienceCount:
    """The number of contacts that a launch would mail now, and up to `SAMPLE_SIZE` of them."""

    count: int
    sample: Sequence[Contact]


async def count_audience(
    transactions: Transactions, source: AudienceSource, *, org_id: str, audience: Audience
) -> AudienceCount:
    """The CRM's count, minus the contacts whose opt-outs are recorded here but are not in the CRM yet.

    The count is an estimate:

    - Only the CRM knows whether a contact with a pending opt-out belongs to the audience. Up to `_MAX_LOOKED_UP` such
      contacts are looked up, and the share of them that belongs is applied to all. Other contacts with the same address
      are not found.
    - Two contacts with one address count twice.
    - Suppressed and malformed addresses are counted.

    Raises AudienceError, and Unavailable if PostgreSQL does not answer.
    """
    read_at = datetime.now(UTC)
    count, contacts = await asyncio.gather(
        source.count(org_id, audience), source.sample(org_id, audience, limit=_MAX_SAMPLED)
    )
    mailboxes = [read_address(contact.email or "") for contact in contacts]
    addresses = [mailbox.key for mailbox in mailboxes]
    unfindable = [
        (contact.id, mailbox.key)
        for contact, mailbox in zip(contacts, mailboxes, strict=True)
        if not mailbox.is_findable
    ]
    async with transactions(org_id) as tx:
        pending, some = await opt_outs.pending_contacts(tx.connection, org_id=org_id, limit=_MAX_LOOKED_UP)
        blocked = await opt_outs.blocked_among(tx.connection, org_id=org_id, addresses=addresses, read_at=read_at)
        blocked |= await suppressed_among(tx.connection, org_id=org_id, addresses=addresses)
        missed = await opt_outs.missed_among(tx.connection, org_id=org_id, unfindable=unfindable)
    found = await asyncio.gather(*(source.contact(org_id, contact_id) for contact_id in some))
    counted = sum(contact is not None and audience.includes(contact) for contact in found)
    less = round(pending * counted / len(some)) if some else 0
    sample = [
        contact
        for contact, mailbox in zip(contacts, mailboxes, strict=True)
        if mailbox.is_deliverable and mailbox.key not in blocked and contact.id not in missed
    ]
    return AudienceCount(max(count - less, 0), sample[:SAMPLE_SIZE])
