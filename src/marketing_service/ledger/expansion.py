"""From an audience to the rows: contacts are staged page by page, then one merge makes the whole list stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from marketing_service.ledger.clicks import write_links
from marketing_service.ledger.counters import lock_campaign
from marketing_service.store.states import CampaignStatus, FailReason, SkipReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

BATCH_SIZE = 100


@dataclass(frozen=True, slots=True)
class Expansion:
    """One attempt at a campaign's list: it holds the launch until another attempt raises the epoch."""

    campaign_id: UUID
    org_id: str
    epoch: int
    launched_at: datetime
    audience_type: str
    audience_statuses: tuple[str, ...]


class StagedContact(NamedTuple):
    """A contact as it will be mailed: its email as the CRM has it, and the address in its normal form."""

    contact_id: str
    email: str
    address: str
    deliverable: bool
    first_name: str | None
    last_name: str | None
    company_name: str | None


_CLAIM = text(
    """
    UPDATE marketing_campaigns
    SET expansion_epoch = expansion_epoch + 1, expansion_fetched = 0, audience_read_at = now(),
        expansion_lease_until = now() + :lease * interval '1 second', expansion_due_at = now()
    WHERE id = (
        SELECT id FROM marketing_campaigns
        WHERE id = :campaign_id AND status = 'SENDING' AND expanded_at IS NULL AND cancelled_at IS NULL
          AND (expansion_lease_until IS NULL OR expansion_lease_until < now())
        -- Whoever is in the middle of the merge has it locked, perhaps for longer than its lease.
        FOR NO KEY UPDATE SKIP LOCKED
    )
    RETURNING id, org_id, expansion_epoch, launched_at, audience_type, audience_statuses
    """
)


async def claim_expansion(connection: AsyncConnection, campaign_id: UUID, *, lease: float) -> Expansion | None:
    """Take the launch for one attempt, for `lease` seconds; None where it is held, done, or gone.

    What an earlier attempt staged is removed.
    """
    row = (await connection.execute(_CLAIM, {"campaign_id": campaign_id, "lease": lease})).one_or_none()
    if row is None:
        return None
    await connection.execute(_UNSTAGE, {"campaign_id": campaign_id})
    return Expansion(
        row.id, row.org_id, row.expansion_epoch, row.launched_at, row.audience_type, tuple(row.audience_statuses)
    )


_UNSTAGE = text("DELETE FROM marketing_staged_contacts WHERE campaign_id = :campaign_id")

_PROGRESS = text(
    """
    UPDATE marketing_campaigns
    SET expansion_fetched = expansion_fetched + :contacts,
        expansion_lease_until = now() + :lease * interval '1 second'
    WHERE id = :campaign_id AND expansion_epoch = :epoch AND expanded_at IS NULL
    """
)


async def stage(
    connection: AsyncConnection, attempt: Expansion, *, page: int, contacts: Sequence[StagedContact], lease: float
) -> bool:
    """Stage one page and hold the launch for another `lease` seconds. False where another attempt holds it."""
    result = await connection.execute(
        _PROGRESS,
        {
            "campaign_id": attempt.campaign_id,
            "epoch": attempt.epoch,
            "contacts": len(contacts),
            "lease": lease,
        },
    )
    if result.rowcount != 1:
        return False
    # COPY is the driver's own: SQLAlchemy has no words for it.
    driver: Any = (await connection.get_raw_connection()).driver_connection
    key = (attempt.org_id, attempt.campaign_id, attempt.epoch, page)
    await driver.copy_records_to_table(
        "marketing_staged_contacts",
        records=[key + contact for contact in contacts],
        columns=["org_id", "campaign_id", "epoch", "page", *StagedContact._fields],
    )
    return True


_HELD = text(
    """
    SELECT expansion_fetched FROM marketing_campaigns
    WHERE id = :campaign_id AND expansion_epoch = :epoch AND expanded_at IS NULL
    """
)
_STAGED = text("SELECT count(*) FROM marketing_staged_contacts WHERE campaign_id = :campaign_id AND epoch = :epoch")

# A contact that came twice is taken as the later page had it. Of contacts with one address the lowest id is
# mailed. An opt-out blocks unless the CRM had confirmed it before this attempt began to read: only then was the
# CRM's own flag asked for afterwards, and is the truth.
#
# A million rows take this as long as all the rest of a launch, so: one sort, by which the rows are numbered and
# written; who shares an address is found by hashing; and the ids are one uuidv7 whose last 32 bits count (RFC 9562
# section 6.2), because fetching random bits for each row took a fifth of the time.
_MERGE = text(
    f"""
    WITH latest AS NOT MATERIALIZED (
        SELECT DISTINCT ON (contact_id) * FROM marketing_staged_contacts
        WHERE campaign_id = :campaign_id AND epoch = :epoch
        ORDER BY contact_id, page DESC
    ),
    merged AS (
        INSERT INTO marketing_sends (id, org_id, campaign_id, contact_id, email, address, first_name, last_name,
                                     company_name, status, reason, batch)
        SELECT CAST(list.prefix || lpad(to_hex(place), 8, '0') AS uuid),
               org_id, campaign_id, contact_id, email, address, first_name, last_name, company_name, status, reason,
               CASE WHEN status = 'QUEUED' THEN (queued_so_far - 1) / {BATCH_SIZE} END
        FROM (
            SELECT *, row_number() OVER by_contact AS place,
                   count(*) FILTER (WHERE status = 'QUEUED') OVER by_contact AS queued_so_far
            FROM (
                SELECT contact.*,
                    CASE WHEN NOT deliverable THEN 'FAILED'
                         WHEN opt_out.address IS NOT NULL OR suppression.address IS NOT NULL
                              OR contact.contact_id > shared.first THEN 'SKIPPED'
                         ELSE 'QUEUED' END AS status,
                    CASE WHEN NOT deliverable THEN '{FailReason.MALFORMED_ADDRESS}'
                         WHEN opt_out.address IS NOT NULL THEN '{SkipReason.OPTED_OUT}'
                         WHEN suppression.address IS NOT NULL THEN '{SkipReason.SUPPRESSED}'
                         WHEN contact.contact_id > shared.first THEN '{SkipReason.DUPLICATE}' END AS reason
                FROM latest AS contact
                LEFT JOIN (
                    SELECT address, min(contact_id) AS first FROM latest GROUP BY address HAVING count(*) > 1
                ) AS shared ON shared.address = contact.address
                LEFT JOIN marketing_opt_outs opt_out
                    ON opt_out.org_id = contact.org_id AND opt_out.address = contact.address
                    AND (opt_out.confirmed_at IS NULL OR opt_out.confirmed_at > (
                         SELECT audience_read_at FROM marketing_campaigns WHERE id = :campaign_id))
                LEFT JOIN marketing_suppressions suppression
                    ON suppression.org_id = contact.org_id AND suppression.address = contact.address
            ) AS judged
            WINDOW by_contact AS (ORDER BY contact_id ROWS UNBOUNDED PRECEDING)
        ) AS placed
        CROSS JOIN (SELECT left(CAST(uuidv7() AS text), -8) AS prefix) AS list
        RETURNING status
    )
    SELECT count(*) FILTER (WHERE status = 'QUEUED') AS queued,
           count(*) FILTER (WHERE status = 'FAILED') AS failed,
           count(*) FILTER (WHERE status = 'SKIPPED') AS skipped
    FROM merged
    """
)
_BATCHES = text(
    """
    INSERT INTO marketing_batches (org_id, campaign_id, number)
    SELECT :org_id, :campaign_id, number FROM generate_series(0, CAST(:batches AS int) - 1) AS number
    """
)
_STAND = text(
    """
    UPDATE marketing_campaigns
    SET expanded_at = clock_timestamp(), expansion_lease_until = NULL, expansion_due_at = NULL, next_batch = :batches,
        recipients = row.queued + row.failed + row.skipped,
        queued = row.queued, failed = row.failed, skipped = row.skipped,
        status = CASE WHEN row.queued = 0 THEN 'SENT' ELSE 'SENDING' END,
        sent_at = CASE WHEN row.queued = 0 THEN now() END,
        paused_at = CASE WHEN row.queued > 0 THEN paused_at END,
        pause_reason = CASE WHEN row.queued > 0 THEN pause_reason END,
        updated_at = now()
    FROM (SELECT CAST(:queued AS int), CAST(:failed AS int), CAST(:skipped AS int)) AS row (queued, failed, skipped)
    WHERE id = :campaign_id
    """
)


# Statistics of a table that is empty most of the time mislead: a list thought to be short would be joined row by row.
_PREPARE_MERGE = text("SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true)")


class StagingIncomplete(Exception):
    """Fewer contacts are staged than were read: the database has restarted in between. Read them again."""


async def merge(connection: AsyncConnection, attempt: Expansion, *, links: Sequence[str] = ()) -> bool:
    """Turn what the attempt staged into the campaign's rows and batches: the list stands when this commits. `links`
    are the addresses whose clicks are counted, in the order of their numbers.

    What was staged is left to `clean_staging`. False where another attempt holds the launch, or it was cancelled.
    Raises StagingIncomplete.
    """
    key = {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch}
    campaign = await lock_campaign(connection, attempt.campaign_id)
    if campaign is None or campaign.status is not CampaignStatus.SENDING or campaign.cancelled_at is not None:
        return False
    fetched = (await connection.execute(_HELD, key)).scalar_one_or_none()
    if fetched is None:
        return False
    if (await connection.execute(_STAGED, key)).scalar_one() != fetched:
        raise StagingIncomplete
    await connection.execute(_PREPARE_MERGE)
    counts = (await connection.execute(_MERGE, key)).one()
    batches = -(-counts.queued // BATCH_SIZE)
    place = {"org_id": attempt.org_id, "campaign_id": attempt.campaign_id, "batches": batches}
    await connection.execute(_BATCHES, place)
    await write_links(connection, org_id=attempt.org_id, campaign_id=attempt.campaign_id, urls=links)
    await connection.execute(
        _STAND,
        {
            "campaign_id": attempt.campaign_id,
            "batches": batches,
            "queued": counts.queued,
            "failed": counts.failed,
            "skipped": counts.skipped,
        },
    )
    return True


_POSTPONE = text(
    """
    UPDATE marketing_campaigns
    SET expansion_lease_until = NULL, expansion_due_at = now() + :delay * interval '1 second'
    WHERE id = :campaign_id AND expansion_epoch = :epoch AND expanded_at IS NULL AND status = 'SENDING'
    """
)


async def postpone(connection: AsyncConnection, attempt: Expansion, *, delay: float) -> None:
    """Let go of the launch; the next attempt is due in `delay` seconds."""
    await connection.execute(_POSTPONE, {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch, "delay": delay})


_DUE = text(
    """
    SELECT id, expansion_epoch FROM marketing_campaigns
    WHERE status = 'SENDING' AND expanded_at IS NULL AND cancelled_at IS NULL AND expansion_due_at <= now()
      AND (expansion_lease_until IS NULL OR expansion_lease_until < now())
    """
)


async def due_expansions(connection: AsyncConnection) -> list[tuple[UUID, int]]:
    """The launches nobody holds and whose next attempt is due: campaign and the epoch of the last attempt."""
    return [(row.id, row.expansion_epoch) for row in await connection.execute(_DUE)]


# The attempts are found by stepping through the index from one to the next: this is asked every few seconds, also
# while a million contacts are staged.
_CLEAN = text(
    """
    WITH RECURSIVE attempt AS (
        (SELECT campaign_id, epoch FROM marketing_staged_contacts ORDER BY campaign_id, epoch LIMIT 1)
        UNION ALL
        SELECT following.campaign_id, following.epoch FROM attempt CROSS JOIN LATERAL (
            SELECT campaign_id, epoch FROM marketing_staged_contacts s
            WHERE (s.campaign_id, s.epoch) > (attempt.campaign_id, attempt.epoch)
            ORDER BY campaign_id, epoch LIMIT 1
        ) AS following
    )
    DELETE FROM marketing_staged_contacts s USING (
        SELECT campaign_id, epoch FROM attempt WHERE NOT EXISTS (
            SELECT FROM marketing_campaigns c
            WHERE c.id = attempt.campaign_id AND c.status = 'SENDING' AND c.expanded_at IS NULL
              AND c.expansion_epoch = attempt.epoch)
    ) AS ended
    WHERE s.campaign_id = ended.campaign_id AND s.epoch = ended.epoch
    """
)


async def clean_staging(connection: AsyncConnection) -> None:
    """Remove what launches that ended have left in staging."""
    await connection.execute(_CLEAN)
