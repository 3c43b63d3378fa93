"""Opt-outs: recorded here first, blocking their address at once, then brought to the CRM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.counters import MOVED, PROVEN, counted, lock_campaign
from marketing_service.store.states import SkipReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class PendingOptOut:
    """An opt-out the CRM does not have yet. `tries` counts the ones before this."""

    org_id: str
    address: str
    contact_ids: tuple[str, ...]
    opted_out_at: datetime
    tries: int


_RECORD = text(
    """
    INSERT INTO marketing_opt_outs (org_id, address, contact_ids, opted_out_at, due_at)
    SELECT :org_id, :address, array_agg(DISTINCT contact_id), clock_timestamp(), clock_timestamp()
    FROM marketing_sends WHERE campaign_id = :campaign_id AND address = :address
    ON CONFLICT (org_id, address) DO UPDATE
    SET contact_ids = ARRAY(SELECT DISTINCT unnest(marketing_opt_outs.contact_ids || excluded.contact_ids)),
        opted_out_at = excluded.opted_out_at, confirmed_at = NULL, due_at = excluded.due_at, tries = 0
    """
)
_SENDING = text(
    """
    SELECT c.id FROM marketing_campaigns c
    WHERE c.org_id = :org_id AND c.status = 'SENDING' AND c.id <> :campaign_id AND EXISTS (
        SELECT FROM marketing_sends s WHERE s.campaign_id = c.id AND s.address = :address)
    """
)
_SKIP = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s SET status = 'SKIPPED', reason = '{SkipReason.OPTED_OUT}', due_at = NULL
        WHERE s.campaign_id = :campaign_id AND s.address = :address AND s.status IN ('QUEUED', 'DEFERRED')
        RETURNING {MOVED}
    )
    """
)
# Whoever follows the link of an UNCONFIRMED send has received it.
_NOTE = counted(
    f"""
    moved AS (
        UPDATE marketing_sends s
        SET unsubscribed_at = coalesce(s.unsubscribed_at, clock_timestamp()), {PROVEN}
        WHERE s.campaign_id = :campaign_id AND s.id = :send_id
        RETURNING {MOVED}
    )
    """
)


async def record_opt_out(
    connection: AsyncConnection, *, org_id: str, campaign_id: UUID, send_id: UUID, address: str
) -> None:
    """Record that this address wants no more mail, and skip what waits for it in any campaign being sent."""
    key = {"org_id": org_id, "campaign_id": campaign_id, "send_id": send_id, "address": address}
    await connection.execute(_RECORD, key)
    others = (await connection.execute(_SENDING, key)).scalars()
    # Always in the same order, so that two opt-outs never wait for each other.
    for locked in sorted({campaign_id, *others}):
        await lock_campaign(connection, locked)
        await connection.execute(_SKIP, {"campaign_id": locked, "address": address})
    await connection.execute(_NOTE, key)


_DUE = text(
    """
    UPDATE marketing_opt_outs SET due_at = clock_timestamp() + :hold * interval '1 second', tries = tries + 1
    WHERE (org_id, address) IN (
        SELECT org_id, address FROM marketing_opt_outs WHERE due_at <= now()
        ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING org_id, address, contact_ids, opted_out_at, old.tries AS tries
    """
)


async def take_due_opt_outs(connection: AsyncConnection, *, most: int, hold: float) -> list[PendingOptOut]:
    """Up to `most` opt-outs due to be brought to the CRM; nobody else is given them for `hold` seconds."""
    rows = await connection.execute(_DUE, {"most": most, "hold": hold})
    return [PendingOptOut(row.org_id, row.address, tuple(row.contact_ids), row.opted_out_at, row.tries) for row in rows]


_CONFIRM = text(
    """
    UPDATE marketing_opt_outs SET confirmed_at = clock_timestamp(), due_at = NULL
    WHERE org_id = :org_id AND address = :address AND opted_out_at = :opted_out_at AND confirmed_at IS NULL
    """
)


async def confirm_opt_out(connection: AsyncConnection, opt_out: PendingOptOut) -> None:
    """The CRM has it; from now on the CRM's flag is the truth. A newer opt-out of the address stays pending."""
    await connection.execute(
        _CONFIRM,
        {"org_id": opt_out.org_id, "address": opt_out.address, "opted_out_at": opt_out.opted_out_at},
    )


_POSTPONE = text(
    """
    UPDATE marketing_opt_outs SET due_at = clock_timestamp() + :delay * interval '1 second'
    WHERE org_id = :org_id AND address = :address AND confirmed_at IS NULL
    """
)


async def postpone_opt_outs(connection: AsyncConnection, opt_outs: Sequence[tuple[PendingOptOut, float]]) -> None:
    """Try each again after its delay in seconds."""
    for opt_out, delay in opt_outs:
        await connection.execute(_POSTPONE, {"org_id": opt_out.org_id, "address": opt_out.address, "delay": delay})


_BLOCKED = text(
    """
    SELECT EXISTS (
        SELECT FROM marketing_opt_outs
        WHERE org_id = :org_id AND address = :address AND (confirmed_at IS NULL OR confirmed_at > :read_at))
    """
)


async def is_blocked(connection: AsyncConnection, *, org_id: str, address: str, read_at: datetime) -> bool:
    """Whether an opt-out outweighs what the CRM said at `read_at`."""
    return bool(
        (await connection.execute(_BLOCKED, {"org_id": org_id, "address": address, "read_at": read_at})).scalar_one()
    )


_PENDING_CONTACTS = text(
    """
    SELECT contact_id, count(*) OVER () AS pending
    FROM (SELECT unnest(contact_ids) AS contact_id FROM marketing_opt_outs
          WHERE org_id = :org_id AND due_at IS NOT NULL) AS waiting
    LIMIT :most
    """
)


async def pending_contacts(connection: AsyncConnection, *, org_id: str, most: int) -> tuple[int, list[str]]:
    """How many contacts have opted out without the CRM knowing yet, and up to `most` of their ids."""
    rows = (await connection.execute(_PENDING_CONTACTS, {"org_id": org_id, "most": most})).all()
    return (rows[0].pending if rows else 0), [row.contact_id for row in rows]


_BLOCKED_AMONG = text(
    """
    SELECT address FROM marketing_opt_outs
    WHERE org_id = :org_id AND address = ANY(:addresses) AND (confirmed_at IS NULL OR confirmed_at > :read_at)
    """
)


async def blocked_among(
    connection: AsyncConnection, *, org_id: str, addresses: Sequence[str], read_at: datetime
) -> set[str]:
    """Those of the addresses for which an opt-out outweighs what the CRM said at `read_at`."""
    key = {"org_id": org_id, "addresses": list(addresses), "read_at": read_at}
    return set((await connection.execute(_BLOCKED_AMONG, key)).scalars())
