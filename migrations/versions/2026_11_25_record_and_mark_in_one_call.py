"""Record results and mark what goes next in one call, which is one transaction and one round trip.

The settings keep every look-up on the primary keys: a plan is kept for a session's life, and one made while the
table was small, or had no statistics yet, would read a large campaign's every row, for every group of messages.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KINDS = "uuid, uuid[], int[], int[], int[], text[], text[], int[], text[], text[], float8[], uuid[], int[], int[]"
# By how much each row that was moved moves each counter.
MOVED = ", ".join(
    f"CAST({condition.format('new')} AS int) - CAST({condition.format('old')} AS int) AS {name}"
    for name, condition in {
        "queued": "{0}.status = 'QUEUED'",
        "sending": "{0}.status = 'SENDING'",
        "deferred": "{0}.status = 'DEFERRED'",
        "delivered": "{0}.status = 'DELIVERED'",
        "failed": "{0}.status = 'FAILED'",
        "skipped": "{0}.status = 'SKIPPED'",
        "unconfirmed": "{0}.status = 'UNCONFIRMED'",
        "opens_delivered": "({0}.opened_at IS NOT NULL AND {0}.status = 'DELIVERED')",
        "machine_opens_delivered": "({0}.machine_reason IS NOT NULL AND {0}.status = 'DELIVERED')",
    }.items()
)
FUNCTION = f"""
CREATE FUNCTION marketing_record_and_mark(
    this_campaign uuid,
    result_ids uuid[], result_batches int[], result_epochs int[], result_attempts int[], statuses text[],
    reasons text[], smtp_codes int[], enhanced_codes text[], error_messages text[], delays float8[],
    wanted_ids uuid[], wanted_batches int[], wanted_epochs int[],
    OUT may_mark boolean, OUT is_cancelled boolean, OUT recorded_ids uuid[],
    OUT marked_ids uuid[], OUT marked_attempts int[], OUT marked_tries int[], OUT first_marked_at timestamptz[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
    campaign record;
BEGIN
    -- Whoever moves a campaign's sends holds its row; what follows sees all that was committed before.
    SELECT c.org_id, c.status, c.expanded_at, c.paused_at, c.cancelled_at, c.audience_read_at,
           c.queued + c.sending + c.deferred AS due
    INTO campaign FROM marketing_campaigns c WHERE c.id = this_campaign FOR NO KEY UPDATE;
    may_mark := FOUND AND campaign.status = 'SENDING' AND campaign.expanded_at IS NOT NULL
        AND campaign.paused_at IS NULL;
    is_cancelled := FOUND AND campaign.cancelled_at IS NOT NULL;

    WITH result AS (
        SELECT * FROM unnest(result_ids, result_batches, result_epochs, result_attempts, statuses, reasons,
                             smtp_codes, enhanced_codes, error_messages, delays)
            AS r (id, batch, epoch, attempt, status, reason, smtp_code, enhanced_code, error_message, delay)
    ),
    held AS MATERIALIZED (
        SELECT b.number, b.epoch, b.lease_until > clock_timestamp() AS is_leased
        FROM (SELECT DISTINCT unnest(result_batches || wanted_batches) AS number) AS named
        JOIN marketing_batches b ON b.campaign_id = this_campaign AND b.number = named.number
    ),
    recorded AS (
        UPDATE marketing_sends s
        SET status = r.status, reason = r.reason, smtp_code = r.smtp_code, enhanced_code = r.enhanced_code,
            error_message = r.error_message,
            attempts = CASE r.status WHEN 'QUEUED' THEN s.attempts - 1 ELSE s.attempts END,
            tries = CASE r.status WHEN 'QUEUED' THEN s.tries - 1 ELSE s.tries END,
            batch = CASE r.status WHEN 'DEFERRED' THEN NULL ELSE s.batch END,
            due_at = CASE r.status WHEN 'DEFERRED' THEN clock_timestamp() + r.delay * interval '1 second' END,
            sent_at = CASE r.status WHEN 'DELIVERED' THEN coalesce(s.sent_at, clock_timestamp()) ELSE s.sent_at END,
            unconfirmed_at = CASE r.status WHEN 'UNCONFIRMED' THEN clock_timestamp() ELSE s.unconfirmed_at END
        FROM result r
        WHERE s.id = r.id AND s.batch = r.batch AND s.attempts = r.attempt
          AND (s.status = 'SENDING' AND EXISTS (
                   SELECT FROM held WHERE held.number = r.batch AND held.epoch = r.epoch)
               -- Proof that came late: the claim is gone, and still the relay did take it.
               OR s.status = 'UNCONFIRMED' AND r.status = 'DELIVERED')
        RETURNING {MOVED}, s.id
    ),
    candidate AS (
        SELECT s.id, CASE
            WHEN EXISTS (
                SELECT FROM marketing_opt_outs o
                WHERE o.org_id = s.org_id AND o.address = s.address AND (
                    o.confirmed_at IS NULL
                    OR o.confirmed_at > coalesce(s.consent_read_at, campaign.audience_read_at))
            ) THEN 'OPTED_OUT'
            WHEN EXISTS (
                SELECT FROM marketing_suppressions p WHERE p.org_id = s.org_id AND p.address = s.address
            ) THEN 'SUPPRESSED'
        END AS skip
        FROM unnest(wanted_ids, wanted_batches, wanted_epochs) AS wanted (id, batch, epoch)
        JOIN marketing_sends s ON s.id = wanted.id
        WHERE may_mark AND s.batch = wanted.batch AND s.status IN ('QUEUED', 'DEFERRED')
          AND (campaign.cancelled_at IS NULL OR s.queued_at > campaign.cancelled_at)
          AND EXISTS (SELECT FROM held
                      WHERE held.number = wanted.batch AND held.epoch = wanted.epoch AND held.is_leased)
    ),
    marked AS (
        UPDATE marketing_sends s
        SET status = CASE WHEN skip IS NULL THEN 'SENDING' ELSE 'SKIPPED' END,
            reason = skip,
            attempts = CASE WHEN skip IS NULL THEN s.attempts + 1 ELSE s.attempts END,
            tries = CASE WHEN skip IS NULL THEN s.tries + 1 ELSE s.tries END,
            marked_at = CASE WHEN skip IS NULL THEN coalesce(s.marked_at, clock_timestamp()) ELSE s.marked_at END
        FROM candidate WHERE s.id = candidate.id
        RETURNING {MOVED}, s.id, s.status, s.attempts, s.tries, s.marked_at
    ),
    tally AS (
        SELECT sum(queued) AS queued, sum(sending) AS sending, sum(deferred) AS deferred,
               sum(delivered) AS delivered, sum(failed) AS failed, sum(skipped) AS skipped,
               sum(unconfirmed) AS unconfirmed, sum(opens_delivered) AS opens_delivered,
               sum(machine_opens_delivered) AS machine_opens_delivered,
               count(*) FILTER (WHERE delivered > 0) AS newly_delivered,
               campaign.due + sum(queued + sending + deferred) = 0 AS is_through
        FROM (
            SELECT queued, sending, deferred, delivered, failed, skipped, unconfirmed, opens_delivered,
                   machine_opens_delivered FROM recorded
            UNION ALL
            SELECT queued, sending, deferred, delivered, failed, skipped, unconfirmed, opens_delivered,
                   machine_opens_delivered FROM marked
        ) AS moved
        HAVING count(*) > 0
    ),
    counted AS (
        UPDATE marketing_campaigns c
        SET queued = c.queued + tally.queued, sending = c.sending + tally.sending,
            deferred = c.deferred + tally.deferred, delivered = c.delivered + tally.delivered,
            failed = c.failed + tally.failed, skipped = c.skipped + tally.skipped,
            unconfirmed = c.unconfirmed + tally.unconfirmed,
            opens_delivered = c.opens_delivered + tally.opens_delivered,
            machine_opens_delivered = c.machine_opens_delivered + tally.machine_opens_delivered,
            status = CASE WHEN is_through THEN 'SENT' ELSE 'SENDING' END,
            sent_at = CASE WHEN is_through THEN coalesce(c.sent_at, clock_timestamp()) ELSE c.sent_at END,
            paused_at = CASE WHEN is_through THEN NULL ELSE c.paused_at END,
            pause_reason = CASE WHEN is_through THEN NULL ELSE c.pause_reason END
        FROM tally
        WHERE c.id = this_campaign
    ),
    charted AS (
        INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, delivered)
        SELECT campaign.org_id, this_campaign, date_trunc('minute', clock_timestamp()), newly_delivered
        FROM tally WHERE newly_delivered > 0
        ON CONFLICT (campaign_id, minute) DO UPDATE SET delivered = t.delivered + excluded.delivered
    )
    SELECT (SELECT coalesce(array_agg(id), '{{}}') FROM recorded),
           coalesce(array_agg(id), '{{}}'), coalesce(array_agg(attempts), '{{}}'),
           coalesce(array_agg(tries), '{{}}'), coalesce(array_agg(marked_at), '{{}}')
    INTO recorded_ids, marked_ids, marked_attempts, marked_tries, first_marked_at
    FROM marked WHERE status = 'SENDING';
END
$$
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION marketing_record_and_mark({KINDS}) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION marketing_record_and_mark({KINDS}) TO marketing_worker")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION marketing_record_and_mark({KINDS})")
