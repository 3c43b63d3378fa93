"""The expansion of a campaign's audience into sends: attempts claim it, and stage contacts page by page.

`ledger.expansion.merge` makes the sends from what is staged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from marketing_service.store.rules import is_expanding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.addresses import MailboxKey


@dataclass(frozen=True, slots=True)
class Expansion:
    """One attempt to expand a campaign. It owns the expansion until another attempt raises the epoch."""

    campaign_id: UUID
    org_id: str
    epoch: int
    launched_at: datetime
    audience_type: str
    audience_statuses: tuple[str, ...]


class StagedContact(NamedTuple):
    """A contact as it will be mailed: `email` as the CRM has it. `findable`: see `addresses.is_findable`."""

    contact_id: str
    email: str
    address: MailboxKey
    deliverable: bool
    first_name: str | None
    last_name: str | None
    company_name: str | None
    findable: bool = True


_MAY_CLAIM = f"""{is_expanding("c")} AND c.cancelled_at IS NULL
          AND (c.expansion_lease_until IS NULL OR c.expansion_lease_until < now())"""
_CLAIM = text(
    f"""
    UPDATE marketing_campaigns
    SET expansion_epoch = expansion_epoch + 1, expansion_fetched = 0, audience_read_at = clock_timestamp(),
        expansion_lease_until = clock_timestamp() + :lease * interval '1 second', expansion_due_at = clock_timestamp()
    WHERE id = (
        SELECT c.id FROM marketing_campaigns c
        WHERE c.id = :campaign_id AND {_MAY_CLAIM}
        -- An attempt that merges has locked the row, perhaps for longer than its lease.
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING id, org_id, expansion_epoch, launched_at, audience_type, audience_statuses
    """
)
_UNSTAGE = text("DELETE FROM marketing_staged_contacts WHERE campaign_id = :campaign_id")


async def claim_expansion(connection: AsyncConnection, campaign_id: UUID, *, lease: float) -> Expansion | None:
    """Claim the expansion for one attempt, for `lease` seconds, and remove what an earlier attempt has staged. None if
    another attempt has it, it is finished, or the campaign is cancelled."""
    row = (await connection.execute(_CLAIM, {"campaign_id": campaign_id, "lease": lease})).one_or_none()
    if row is None:
        return None
    await connection.execute(_UNSTAGE, {"campaign_id": campaign_id})
    return Expansion(
        row.id, row.org_id, row.expansion_epoch, row.launched_at, row.audience_type, tuple(row.audience_statuses)
    )


_COUNT_FETCHED = text(
    """
    UPDATE marketing_campaigns
    SET expansion_fetched = expansion_fetched + :contacts,
        expansion_lease_until = clock_timestamp() + :lease * interval '1 second'
    WHERE id = :campaign_id AND expansion_epoch = :epoch AND expanded_at IS NULL
    """
)


async def stage_contacts(
    connection: AsyncConnection, attempt: Expansion, *, page: int, contacts: Sequence[StagedContact], lease: float
) -> bool:
    """Stage one page and renew the lease, for `lease` seconds from now. False if another attempt has the expansion."""
    result = await connection.execute(
        _COUNT_FETCHED,
        {
            "campaign_id": attempt.campaign_id,
            "epoch": attempt.epoch,
            "contacts": len(contacts),
            "lease": lease,
        },
    )
    if result.rowcount != 1:
        return False
    # SQLAlchemy has no COPY; asyncpg has.
    driver: Any = (await connection.get_raw_connection()).driver_connection
    key = (attempt.org_id, attempt.campaign_id, attempt.epoch, page)
    await driver.copy_records_to_table(
        "marketing_staged_contacts",
        records=[key + contact for contact in contacts],
        columns=["org_id", "campaign_id", "epoch", "page", *StagedContact._fields],
    )
    return True


_POSTPONE = text(
    f"""
    UPDATE marketing_campaigns c
    SET expansion_lease_until = NULL, expansion_due_at = clock_timestamp() + :delay * interval '1 second'
    WHERE c.id = :campaign_id AND c.expansion_epoch = :epoch AND {is_expanding("c")}
    """
)


async def postpone_expansion(connection: AsyncConnection, attempt: Expansion, *, delay: float) -> None:
    """Release the expansion; the next attempt is due after `delay` seconds."""
    await connection.execute(_POSTPONE, {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch, "delay": delay})


EXPANSION_IS_DUE = f"{_MAY_CLAIM} AND c.expansion_due_at <= now()"
"""The condition of an expansion, of the campaign `c`, that is due and not claimed."""
_DUE = text(f"SELECT c.id, c.expansion_epoch FROM marketing_campaigns c WHERE {EXPANSION_IS_DUE}")


async def due_expansions(connection: AsyncConnection) -> list[tuple[UUID, int]]:
    """The expansions that are not claimed and whose next attempt is due: campaign, and epoch of the last attempt."""
    return [(row.id, row.expansion_epoch) for row in await connection.execute(_DUE)]


# Finds the attempts by stepping through the index from one to the next: this runs every few seconds, also while a
# million contacts are staged.
_ENDED = text(
    f"""
    WITH RECURSIVE attempt AS (
        (SELECT campaign_id, epoch FROM marketing_staged_contacts ORDER BY campaign_id, epoch LIMIT 1)
        UNION ALL
        SELECT following.campaign_id, following.epoch FROM attempt CROSS JOIN LATERAL (
            SELECT campaign_id, epoch FROM marketing_staged_contacts s
            WHERE (s.campaign_id, s.epoch) > (attempt.campaign_id, attempt.epoch)
            ORDER BY campaign_id, epoch LIMIT 1
        ) AS following
    )
    SELECT campaign_id, epoch FROM attempt WHERE NOT EXISTS (
        SELECT FROM marketing_campaigns c
        WHERE c.id = attempt.campaign_id AND c.expansion_epoch = attempt.epoch AND {is_expanding("c")})
    """
)
_CLEAN = text("DELETE FROM marketing_staged_contacts WHERE campaign_id = :campaign_id AND epoch = :epoch")


async def clean_staging(connection: AsyncConnection) -> None:
    """Remove what ended attempts have left in staging. An ended attempt does not begin again."""
    for ended in (await connection.execute(_ENDED)).mappings().all():
        await connection.execute(_CLEAN, dict(ended))
