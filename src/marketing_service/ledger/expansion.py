"""The merge: what an expansion has staged becomes the sends of the campaign, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from marketing_service.ledger.reasons import reasons_upsert
from marketing_service.store.batches import BATCH_SIZE
from marketing_service.store.campaigns import lock_campaign
from marketing_service.store.clicks import write_links
from marketing_service.store.rules import opt_out_blocks, opt_out_missed
from marketing_service.store.states import CampaignStatus, FailReason, SkipReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from marketing_service.store.expansions import Expansion

_FETCHED = text(
    """
    SELECT expansion_fetched FROM marketing_campaigns
    WHERE id = :campaign_id AND expansion_epoch = :epoch AND expanded_at IS NULL
    """
)
_STAGED = text("SELECT count(*) FROM marketing_staged_contacts WHERE campaign_id = :campaign_id AND epoch = :epoch")

# A contact on two pages is taken from the later page. Of the contacts with one address that may be mailed, the one with
# the lowest id is mailed. An opt-out blocks unless the CRM had it before this attempt began to read: then the attempt
# read the CRM's own flag afterwards, and the flag decides. But if a search of the CRM may not find a contact in its
# spelling, the flag decides only if the opt-out was brought to this contact by its id.
#
# For a million rows this takes as long as the rest of the launch. Therefore there is one sort, in whose order the rows
# are numbered and written; shared addresses are found by hashing; and the ids are one uuidv7 whose last 32 bits are a
# counter (RFC 9562 section 6.2), because random bits for each row took a fifth of the time.
_AUDIENCE_READ_AT = "(SELECT audience_read_at FROM marketing_campaigns WHERE id = :campaign_id)"
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
                    SELECT address, min(contact_id) AS first FROM latest AS one
                    WHERE deliverable AND (findable OR NOT EXISTS (
                        SELECT FROM marketing_opt_outs o WHERE o.org_id = one.org_id AND o.address = one.address
                          AND {opt_out_missed("o", contact_id="one.contact_id")}))
                    GROUP BY address HAVING count(*) > 1
                ) AS shared ON shared.address = contact.address
                LEFT JOIN marketing_opt_outs opt_out
                    ON opt_out.org_id = contact.org_id AND opt_out.address = contact.address
                    AND ({opt_out_blocks("opt_out", read_at=_AUDIENCE_READ_AT)}
                         OR NOT contact.findable AND {opt_out_missed("opt_out", contact_id="contact.contact_id")})
                LEFT JOIN marketing_suppressions suppression
                    ON suppression.org_id = contact.org_id AND suppression.address = contact.address
            ) AS decided
            WINDOW by_contact AS (ORDER BY contact_id ROWS UNBOUNDED PRECEDING)
        ) AS numbered
        CROSS JOIN (SELECT left(CAST(uuidv7() AS text), -8) AS prefix) AS list
        RETURNING status, reason
    ),
    reason_move AS (
        SELECT status, reason, 0 AS smtp_code, '' AS enhanced_code, 1 AS sends FROM merged WHERE status <> 'QUEUED'
    ),
    reason_update AS (
        {reasons_upsert(org_id="CAST(:org_id AS text)", campaign_id="CAST(:campaign_id AS uuid)")}
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
_EXPANDED = text(
    """
    UPDATE marketing_campaigns
    SET expanded_at = clock_timestamp(), expansion_lease_until = NULL, expansion_due_at = NULL, next_batch = :batches,
        first_retry_batch = :batches,
        recipients = row.queued + row.failed + row.skipped,
        queued = row.queued, failed = row.failed, skipped = row.skipped,
        status = CASE WHEN row.queued = 0 THEN 'SENT' ELSE 'SENDING' END,
        sent_at = CASE WHEN row.queued = 0 THEN clock_timestamp() END,
        paused_at = CASE WHEN row.queued > 0 THEN paused_at END,
        pause_reason = CASE WHEN row.queued > 0 THEN pause_reason END,
        updated_at = clock_timestamp()
    FROM (SELECT CAST(:queued AS int), CAST(:failed AS int), CAST(:skipped AS int)) AS row (queued, failed, skipped)
    WHERE id = :campaign_id
    """
)


# The merge reads all that is staged, so it does without the index plans of the service's sessions (db/session.py). The
# staging table is empty most of the time, so its statistics are wrong: PostgreSQL would expect few rows and join them
# with nested loops.
_PREPARE_MERGE = text(
    """
    SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true),
           set_config('enable_seqscan', 'on', true), set_config('enable_bitmapscan', 'on', true),
           set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)
    """
)


class StagingIncomplete(Exception):
    """Fewer contacts are staged than were read, because the database has restarted. They must be read again."""


async def merge(connection: AsyncConnection, attempt: Expansion, *, links: Sequence[str] = ()) -> bool:
    """Make the campaign's sends and batches from what the attempt has staged: the campaign is expanded when this
    commits. `links` are the URLs whose clicks are tracked, in the order of their numbers.

    `clean_staging` removes the staged contacts later. False if another attempt has the expansion, or the campaign is
    cancelled. Raises StagingIncomplete.
    """
    key = {"campaign_id": attempt.campaign_id, "epoch": attempt.epoch}
    campaign = await lock_campaign(connection, attempt.campaign_id)
    if campaign is None or campaign.status is not CampaignStatus.SENDING or campaign.cancelled_at is not None:
        return False
    fetched = (await connection.execute(_FETCHED, key)).scalar_one_or_none()
    if fetched is None:
        return False
    await connection.execute(_PREPARE_MERGE)
    if (await connection.execute(_STAGED, key)).scalar_one() != fetched:
        raise StagingIncomplete
    inserted = (await connection.execute(_MERGE, key | {"org_id": attempt.org_id})).one()
    batches = -(-inserted.queued // BATCH_SIZE)
    place = {"org_id": attempt.org_id, "campaign_id": attempt.campaign_id, "batches": batches}
    await connection.execute(_BATCHES, place)
    await write_links(connection, org_id=attempt.org_id, campaign_id=attempt.campaign_id, urls=links)
    await connection.execute(
        _EXPANDED,
        {
            "campaign_id": attempt.campaign_id,
            "batches": batches,
            "queued": inserted.queued,
            "failed": inserted.failed,
            "skipped": inserted.skipped,
        },
    )
    return True
