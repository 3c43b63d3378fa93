"""The suppression list: add an address, read the list, remove an address. `suppression_imports` adds files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.addresses import is_deliverable, mailbox_key, read_key_prefix
from marketing_service.campaigns.audit import digest, record
from marketing_service.errors import FieldError, InvalidInput, NotFound
from marketing_service.ledger.suppressions import lock_campaigns_waiting_for, suppress
from marketing_service.store import suppressions as store
from marketing_service.store.audit import Action
from marketing_service.store.states import SuppressionOrigin, SuppressionReason
from marketing_service.store.suppressions import SuppressionEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.store.audit import Actor
    from marketing_service.store.suppressions import Suppression

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects suppressions with one of `reasons` (empty: any reason) and an address that starts with `prefix`, in any
    spelling."""

    reasons: Sequence[SuppressionReason] = ()
    prefix: str | None = None


async def add(transactions: Transactions, *, actor: Actor, email: str, note: str | None) -> tuple[Suppression, bool]:
    """Add an address, and skip the waiting sends to it. The second value tells whether it is new. Raises
    InvalidInput."""
    if not is_deliverable(email.strip()):
        raise InvalidInput(FieldError("email", "is not a valid email address.", "email"))
    entry = SuppressionEntry(mailbox_key(email), note)
    async with transactions(actor.org_id) as tx:
        locked = await lock_campaigns_waiting_for(tx.connection, org_id=actor.org_id, addresses=(entry.address,))
        added = await suppress(
            tx.connection,
            org_id=actor.org_id,
            entries=(entry,),
            reason=SuppressionReason.MANUAL,
            origin=SuppressionOrigin.API,
            created_by=actor.subject,
            locked=locked,
        )
        found = await store.find_suppression(tx.connection, org_id=actor.org_id, address=entry.address)
        if added and found is not None:
            await record(tx, actor, Action.SUPPRESSED, suppressionId=str(found.id), address=digest(entry.address))
    if found is None:
        raise NotFound("The address was removed from the list at the same moment. Add it again if you need it.")
    return found, bool(added)


async def remove(transactions: Transactions, *, actor: Actor, suppression_id: UUID) -> None:
    """Remove an address from the list. Raises NotFound."""
    async with transactions(actor.org_id) as tx:
        address = await store.remove_suppression(tx.connection, org_id=actor.org_id, suppression_id=suppression_id)
        if address is None:
            raise NotFound("There is no such entry on the suppression list. Check the id.")
        await record(tx, actor, Action.UNSUPPRESSED, suppressionId=str(suppression_id), address=digest(address))


async def page(
    transactions: Transactions, org_id: str, *, only: Filter, before: UUID | None, limit: int
) -> tuple[list[Suppression], UUID | None]:
    """At most `limit` entries, newest first, and the `before` of the next page; None: this is the last page."""
    async with transactions(org_id) as tx:
        return await _page(tx, org_id, only=only, before=before, limit=limit)


async def _page(
    tx: Transaction, org_id: str, *, only: Filter, before: UUID | None, limit: int
) -> tuple[list[Suppression], UUID | None]:
    found = await store.page_of_suppressions(
        tx.connection,
        org_id=org_id,
        reasons=only.reasons,
        search=read_key_prefix(only.prefix) if only.prefix else None,
        before=before,
        limit=limit + 1,
    )
    return found[:limit], found[limit - 1].id if len(found) > limit else None


async def export(transactions: Transactions, actor: Actor, *, only: Filter) -> AsyncIterator[Sequence[Suppression]]:
    """All entries, one page at a time. Each page is read in its own short transaction; the first one also records the
    export."""
    async with transactions(actor.org_id) as tx:
        items, before = await _page(tx, actor.org_id, only=only, before=None, limit=_PAGE)
        filters = {"reason": list(only.reasons), "q": only.prefix and digest(only.prefix)}
        await record(tx, actor, Action.EXPORTED, export="suppressions", filters=filters)
    while True:
        yield items
        if before is None:
            return
        items, before = await page(transactions, actor.org_id, only=only, before=before, limit=_PAGE)
