"""The email log: the sends of a campaign, read one page at a time, for campaigns of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.campaigns.audit import digest, record
from marketing_service.errors import FieldError, InvalidInput, NotFound
from marketing_service.store import campaigns, email_log
from marketing_service.store.audit import Action

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from marketing_service.db import Transaction, Transactions
    from marketing_service.store.audit import Actor
    from marketing_service.store.email_log import LogEntry, LogFilter, LogKey
    from marketing_service.store.page import Page

EXPORT_PAGE = 1000
_NO_CAMPAIGN = "There is no such campaign."


async def page(
    tx: Transaction, org_id: str, campaign_id: UUID, *, only: LogFilter, after: LogKey | None, limit: int
) -> Page[LogEntry, LogKey]:
    """At most `limit` entries, by address, then id. Raises NotFound."""
    if await campaigns.find_stats(tx.connection, org_id, campaign_id) is None:
        raise NotFound(_NO_CAMPAIGN)
    return await email_log.page_of_log(tx.connection, org_id, campaign_id, only=only, after=after, limit=limit)


async def entry(tx: Transaction, org_id: str, campaign_id: UUID, send_id: UUID) -> LogEntry:
    """One send's entry. Raises NotFound."""
    found = await email_log.find_entry(tx.connection, org_id, campaign_id, send_id)
    if found is None:
        raise NotFound("There is no such send in this campaign.")
    return found


async def export(
    transactions: Transactions, actor: Actor, campaign_id: UUID, *, only: LogFilter, after: UUID | None = None
) -> AsyncIterator[Sequence[LogEntry]]:
    """All entries, one page at a time; with `after`, only those after this send. Each page is read in its own short
    transaction: only one page is in memory, and between pages no connection is used. The first one also records the
    export.

    Raises NotFound or Unavailable, also between pages, and InvalidInput if `after` is no send of the campaign.
    """
    org_id = actor.org_id
    async with transactions(org_id) as tx:
        start = None if after is None else await _place_of(tx, org_id, campaign_id, after)
        found = await page(tx, org_id, campaign_id, only=only, after=start, limit=EXPORT_PAGE)
        filters = {"status": list(only.statuses), "q": only.prefix and digest(only.prefix)}
        more = {} if after is None else {"after": str(after)}
        await record(tx, actor, Action.EXPORTED, campaign_id, export="sends", filters=filters, **more)
    yield found.items
    while found.next is not None:
        async with transactions(org_id) as tx:
            found = await email_log.page_of_log(
                tx.connection, org_id, campaign_id, only=only, after=found.next, limit=EXPORT_PAGE
            )
        yield found.items


async def _place_of(tx: Transaction, org_id: str, campaign_id: UUID, send_id: UUID) -> LogKey:
    found = await email_log.find_entry(tx.connection, org_id, campaign_id, send_id)
    if found is not None:
        return found.key
    if await campaigns.find_stats(tx.connection, org_id, campaign_id) is None:
        raise NotFound(_NO_CAMPAIGN)
    raise InvalidInput(
        FieldError(
            "after", "is not the id of a send of this campaign. Send the id of a row of its export.", "unknown-send"
        )
    )
