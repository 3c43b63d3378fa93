"""Opt-outs: recorded here first, then written to the CRM. An opt-out blocks its address until the CRM has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.store.rules import opt_out_blocks, opt_out_missed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey


@dataclass(frozen=True, slots=True)
class PendingOptOut:
    """An opt-out that the CRM does not have yet. `tries` counts the earlier tries to write it there."""

    org_id: str
    address: MailboxKey
    contact_ids: tuple[str, ...]
    opted_out_at: datetime
    tries: int


_ADD = text(
    """
    INSERT INTO marketing_opt_outs (org_id, address, contact_ids, opted_out_at, due_at)
    SELECT :org_id, :address, array_agg(DISTINCT contact_id), clock_timestamp(), clock_timestamp()
    FROM marketing_sends WHERE campaign_id = :campaign_id AND address = :address
    ON CONFLICT (org_id, address) DO UPDATE
    SET contact_ids = ARRAY(SELECT DISTINCT unnest(marketing_opt_outs.contact_ids || excluded.contact_ids)),
        opted_out_at = excluded.opted_out_at, confirmed_at = NULL, due_at = excluded.due_at, tries = 0
    """
)


async def add_opt_out(connection: AsyncConnection, *, org_id: str, campaign_id: UUID, address: MailboxKey) -> None:
    """Store the opt-out of the address, for all contacts who have it in the campaign; the CRM does not have it yet."""
    await connection.execute(_ADD, {"org_id": org_id, "campaign_id": campaign_id, "address": address})


_TAKE_DUE = text(
    """
    UPDATE marketing_opt_outs SET due_at = clock_timestamp() + :lease * interval '1 second', tries = tries + 1
    WHERE (org_id, address) IN (
        SELECT org_id, address FROM marketing_opt_outs WHERE due_at <= now()
        ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING org_id, address, contact_ids, opted_out_at, old.tries AS tries
    """
)


async def take_due_opt_outs(connection: AsyncConnection, *, limit: int, lease: float) -> list[PendingOptOut]:
    """Up to `limit` opt-outs that are due to be written to the CRM. No other caller gets them for `lease` seconds."""
    rows = await connection.execute(_TAKE_DUE, {"limit": limit, "lease": lease})
    return [PendingOptOut(row.org_id, row.address, tuple(row.contact_ids), row.opted_out_at, row.tries) for row in rows]


_CONFIRM = text(
    """
    UPDATE marketing_opt_outs
    SET confirmed_at = clock_timestamp(), due_at = NULL,
        contact_ids = ARRAY(SELECT DISTINCT unnest(contact_ids || CAST(:found AS text[])))
    WHERE org_id = :org_id AND address = :address AND opted_out_at = :opted_out_at AND confirmed_at IS NULL
    """
)


async def confirm_opt_out(connection: AsyncConnection, opt_out: PendingOptOut, *, found: Collection[str] = ()) -> None:
    """Record that the CRM has the opt-out: from now on the CRM's flag decides. A newer opt-out stays pending. `found`
    are the ids of the contacts that the CRM has found by the address."""
    key = {"org_id": opt_out.org_id, "address": opt_out.address, "opted_out_at": opt_out.opted_out_at}
    await connection.execute(_CONFIRM, key | {"found": list(found)})


_POSTPONE = text(
    """
    UPDATE marketing_opt_outs SET due_at = clock_timestamp() + :delay * interval '1 second'
    WHERE org_id = :org_id AND address = :address AND confirmed_at IS NULL
    """
)


async def postpone_opt_outs(connection: AsyncConnection, opt_outs: Sequence[tuple[PendingOptOut, float]]) -> None:
    """Make each due again after its delay in seconds."""
    for opt_out, delay in opt_outs:
        await connection.execute(_POSTPONE, {"org_id": opt_out.org_id, "address": opt_out.address, "delay": delay})


_BLOCKED = text(
    f"""
    SELECT o.address FROM marketing_opt_outs o
    WHERE o.org_id = :org_id AND o.address = ANY(:addresses) AND {opt_out_blocks("o", read_at=":read_at")}
    """
)


async def blocked_among(
    connection: AsyncConnection, *, org_id: str, addresses: Sequence[MailboxKey], read_at: datetime
) -> set[MailboxKey]:
    """Those of the addresses for which an opt-out outweighs what the CRM said at `read_at`."""
    key = {"org_id": org_id, "addresses": list(addresses), "read_at": read_at}
    return set((await connection.execute(_BLOCKED, key)).scalars())


async def is_blocked(connection: AsyncConnection, *, org_id: str, address: MailboxKey, read_at: datetime) -> bool:
    """Whether an opt-out of the address outweighs what the CRM said at `read_at`."""
    return bool(await blocked_among(connection, org_id=org_id, addresses=(address,), read_at=read_at))


_MISSED = text(
    f"""
    SELECT c.id FROM unnest(CAST(:ids AS text[]), CAST(:addresses AS text[])) AS c (id, address)
    JOIN marketing_opt_outs o ON o.org_id = :org_id AND o.address = c.address
    WHERE {opt_out_missed("o", contact_id="c.id")}
    """
)


async def missed_among(
    connection: AsyncConnection, *, org_id: str, unfindable: Sequence[tuple[str, MailboxKey]]
) -> set[str]:
    """The ids of those contacts to whom an opt-out of their mailbox was never brought: it blocks them, whatever the CRM
    says. `unfindable` are ids and mailboxes of contacts that a search of the CRM may not find."""
    if not unfindable:
        return set()
    ids, addresses = zip(*unfindable, strict=True)
    rows = await connection.execute(_MISSED, {"org_id": org_id, "ids": list(ids), "addresses": list(addresses)})
    return set(rows.scalars())


_PENDING_CONTACTS = text(
    """
    SELECT contact_id, count(*) OVER () AS pending
    FROM (SELECT unnest(contact_ids) AS contact_id FROM marketing_opt_outs
          WHERE org_id = :org_id AND due_at IS NOT NULL) AS waiting
    LIMIT :limit
    """
)


async def pending_contacts(connection: AsyncConnection, *, org_id: str, limit: int) -> tuple[int, list[str]]:
    """How many contacts have opted out and the CRM does not have it yet, and the ids of up to `limit` of them."""
    rows = (await connection.execute(_PENDING_CONTACTS, {"org_id": org_id, "limit": limit})).all()
    return (rows[0].pending if rows else 0), [row.contact_id for row in rows]
