-- Generated from templates/commit_results_v2.sql by `make sql`; change the template, not this file.
--
-- Records the results of submitted sends and marks the next sends SENDING, all of one campaign, in one transaction and
-- one round trip. The campaign's counters, its reasons, its state and its timeline change in the same transaction.
--
-- Called by: ledger/commit_results.py, in the worker.
-- Takes: results, one array per column, and the sends to mark, each with the batch and epoch that the worker holds.
--   A send is in at most one of the two groups. `delays` are seconds until a DEFERRED send is due again.
-- Returns: whether the campaign may mark sends, whether it is cancelled, the ids of the results that were recorded,
--   and the sends that were marked. A result that is not in `recorded_ids` was refused by the fence: its batch has
--   another epoch by now. A send that is not in the marked ones must not be submitted.
--
-- The settings keep every look-up on the primary keys. PostgreSQL keeps a plan for as long as the session exists; a
-- plan made while the table was small, or had no statistics, would read every row of a large campaign for each call.
CREATE FUNCTION marketing_commit_results_v2(
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
    -- A statement that moves sends locks the campaign's row first. The statement below then sees every earlier commit.
    SELECT c.org_id, c.status, c.expanded_at, c.paused_at, c.cancelled_at, c.audience_read_at,
           c.queued + c.deferred + c.sending AS unsettled
    INTO campaign FROM marketing_campaigns c WHERE c.id = this_campaign FOR NO KEY UPDATE;
    may_mark := FOUND
        AND campaign.status = 'SENDING' AND campaign.expanded_at IS NOT NULL AND campaign.paused_at IS NULL;
    is_cancelled := FOUND AND campaign.cancelled_at IS NOT NULL;

    WITH result AS (
        SELECT * FROM unnest(result_ids, result_batches, result_epochs, result_attempts, statuses, reasons,
                             smtp_codes, enhanced_codes, error_messages, delays)
            AS r (id, batch, epoch, attempt, status, reason, smtp_code, enhanced_code, error_message, delay)
    ),
    batch AS MATERIALIZED (
        -- OFFSET 0: each of these batches is looked up, however few batches the planner expects.
        SELECT b.number, b.epoch, b.lease_until > clock_timestamp() AS is_leased
        FROM (SELECT DISTINCT unnest(result_batches || wanted_batches) AS number) AS named
        CROSS JOIN LATERAL (
            SELECT * FROM marketing_batches
            WHERE campaign_id = this_campaign AND number = named.number OFFSET 0
        ) AS b
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
                   SELECT FROM batch WHERE batch.number = r.batch AND batch.epoch = r.epoch)
               -- A late proof: the worker has lost its claim, but the relay did accept the message.
               OR s.status = 'UNCONFIRMED' AND r.status = 'DELIVERED')
        RETURNING
            CAST(new.status = 'QUEUED' AS int)
                - CAST(old.status = 'QUEUED' AS int) AS queued,
            CAST(new.status = 'SENDING' AS int)
                - CAST(old.status = 'SENDING' AS int) AS sending,
            CAST(new.status = 'DEFERRED' AS int)
                - CAST(old.status = 'DEFERRED' AS int) AS deferred,
            CAST(new.status = 'DELIVERED' AS int)
                - CAST(old.status = 'DELIVERED' AS int) AS delivered,
            CAST(new.status = 'FAILED' AS int)
                - CAST(old.status = 'FAILED' AS int) AS failed,
            CAST(new.status = 'SKIPPED' AS int)
                - CAST(old.status = 'SKIPPED' AS int) AS skipped,
            CAST(new.status = 'UNCONFIRMED' AS int)
                - CAST(old.status = 'UNCONFIRMED' AS int) AS unconfirmed,
            CAST(new.opened_at IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.opened_at IS NOT NULL AND old.status = 'DELIVERED' AS int) AS opens_delivered,
            CAST(new.machine_reason IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.machine_reason IS NOT NULL AND old.status = 'DELIVERED' AS int) AS machine_opens_delivered,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED', 'SKIPPED') THEN new.status END AS new_reason_status,
            coalesce(new.reason, '') AS new_reason_reason,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED') THEN coalesce(new.smtp_code, 0) ELSE 0 END AS new_reason_smtp_code,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED') THEN coalesce(new.enhanced_code, '') ELSE '' END AS new_reason_enhanced_code,
            s.id
    ),
    marked AS (
        -- Each wanted send is read once, and so are the lists for it: OFFSET 0 keeps `skip` from being computed again
        -- for each column that depends on it.
        UPDATE marketing_sends s
        SET (status, reason, attempts, tries, marked_at) = (
            SELECT CASE WHEN skip IS NULL THEN 'SENDING' ELSE 'SKIPPED' END,
                   skip,
                   CASE WHEN skip IS NULL THEN s.attempts + 1 ELSE s.attempts END,
                   CASE WHEN skip IS NULL THEN s.tries + 1 ELSE s.tries END,
                   CASE WHEN skip IS NULL THEN coalesce(s.marked_at, clock_timestamp()) ELSE s.marked_at END
            FROM (
                SELECT CASE
                    WHEN EXISTS (
                        SELECT FROM marketing_opt_outs o
                        WHERE o.org_id = s.org_id AND o.address = s.address
                          AND (o.confirmed_at IS NULL
                               OR o.confirmed_at > coalesce(s.consent_read_at, campaign.audience_read_at))
                    ) THEN 'OPTED_OUT'
                    WHEN EXISTS (
                        SELECT FROM marketing_suppressions p WHERE p.org_id = s.org_id AND p.address = s.address
                    ) THEN 'SUPPRESSED'
                END AS skip
                OFFSET 0
            ) AS lists
        )
        FROM unnest(wanted_ids, wanted_batches, wanted_epochs) AS wanted (id, batch, epoch)
        WHERE s.id = wanted.id AND may_mark AND s.batch = wanted.batch AND s.status IN ('QUEUED', 'DEFERRED')
          AND (s.queued_at <= campaign.cancelled_at) IS NOT TRUE
          AND EXISTS (SELECT FROM batch
                      WHERE batch.number = wanted.batch AND batch.epoch = wanted.epoch AND batch.is_leased)
        RETURNING
            CAST(new.status = 'QUEUED' AS int)
                - CAST(old.status = 'QUEUED' AS int) AS queued,
            CAST(new.status = 'SENDING' AS int)
                - CAST(old.status = 'SENDING' AS int) AS sending,
            CAST(new.status = 'DEFERRED' AS int)
                - CAST(old.status = 'DEFERRED' AS int) AS deferred,
            CAST(new.status = 'DELIVERED' AS int)
                - CAST(old.status = 'DELIVERED' AS int) AS delivered,
            CAST(new.status = 'FAILED' AS int)
                - CAST(old.status = 'FAILED' AS int) AS failed,
            CAST(new.status = 'SKIPPED' AS int)
                - CAST(old.status = 'SKIPPED' AS int) AS skipped,
            CAST(new.status = 'UNCONFIRMED' AS int)
                - CAST(old.status = 'UNCONFIRMED' AS int) AS unconfirmed,
            CAST(new.opened_at IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.opened_at IS NOT NULL AND old.status = 'DELIVERED' AS int) AS opens_delivered,
            CAST(new.machine_reason IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.machine_reason IS NOT NULL AND old.status = 'DELIVERED' AS int) AS machine_opens_delivered,
            CASE WHEN old.status IN ('DEFERRED', 'FAILED', 'SKIPPED') THEN old.status END AS old_reason_status,
            coalesce(old.reason, '') AS old_reason_reason,
            CASE WHEN old.status IN ('DEFERRED', 'FAILED') THEN coalesce(old.smtp_code, 0) ELSE 0 END AS old_reason_smtp_code,
            CASE WHEN old.status IN ('DEFERRED', 'FAILED') THEN coalesce(old.enhanced_code, '') ELSE '' END AS old_reason_enhanced_code,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED', 'SKIPPED') THEN new.status END AS new_reason_status,
            coalesce(new.reason, '') AS new_reason_reason,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED') THEN coalesce(new.smtp_code, 0) ELSE 0 END AS new_reason_smtp_code,
            CASE WHEN new.status IN ('DEFERRED', 'FAILED') THEN coalesce(new.enhanced_code, '') ELSE '' END AS new_reason_enhanced_code,
            s.id, s.status, s.attempts, s.tries, s.marked_at
    ),
    total AS (
        SELECT sum(queued) AS queued,
               sum(sending) AS sending,
               sum(deferred) AS deferred,
               sum(delivered) AS delivered,
               sum(failed) AS failed,
               sum(skipped) AS skipped,
               sum(unconfirmed) AS unconfirmed,
               sum(opens_delivered) AS opens_delivered,
               sum(machine_opens_delivered) AS machine_opens_delivered,
               count(*) FILTER (WHERE delivered > 0) AS new_delivered,
               campaign.unsettled + sum(moved.queued + moved.deferred + moved.sending) = 0 AS is_finished
        FROM (
            SELECT queued,
                   sending,
                   deferred,
                   delivered,
                   failed,
                   skipped,
                   unconfirmed,
                   opens_delivered,
                   machine_opens_delivered
            FROM recorded
            UNION ALL
            SELECT queued,
                   sending,
                   deferred,
                   delivered,
                   failed,
                   skipped,
                   unconfirmed,
                   opens_delivered,
                   machine_opens_delivered
            FROM marked
        ) AS moved
        HAVING count(*) > 0
    ),
    campaign_update AS (
        UPDATE marketing_campaigns c
        SET queued = c.queued + total.queued,
            sending = c.sending + total.sending,
            deferred = c.deferred + total.deferred,
            delivered = c.delivered + total.delivered,
            failed = c.failed + total.failed,
            skipped = c.skipped + total.skipped,
            unconfirmed = c.unconfirmed + total.unconfirmed,
            opens_delivered = c.opens_delivered + total.opens_delivered,
            machine_opens_delivered = c.machine_opens_delivered + total.machine_opens_delivered,
            status = CASE WHEN is_finished THEN 'SENT' ELSE 'SENDING' END,
            sent_at = CASE WHEN is_finished THEN coalesce(c.sent_at, clock_timestamp()) ELSE c.sent_at END,
            paused_at = CASE WHEN is_finished THEN NULL ELSE c.paused_at END,
            pause_reason = CASE WHEN is_finished THEN NULL ELSE c.pause_reason END
        FROM total
        WHERE c.id = this_campaign
    ),
    -- A plain delivery, and a first mark, have no reason. A send that is recorded had none before, because it was
    -- marked or UNCONFIRMED.
    reason_move AS (
        SELECT new_reason_status AS status, new_reason_reason AS reason, new_reason_smtp_code AS smtp_code, new_reason_enhanced_code AS enhanced_code, 1 AS sends FROM recorded WHERE new_reason_status IS NOT NULL
        UNION ALL
        SELECT new_reason_status AS status, new_reason_reason AS reason, new_reason_smtp_code AS smtp_code, new_reason_enhanced_code AS enhanced_code, 1 FROM marked WHERE new_reason_status IS NOT NULL
        UNION ALL
        SELECT old_reason_status AS status, old_reason_reason AS reason, old_reason_smtp_code AS smtp_code, old_reason_enhanced_code AS enhanced_code, -1 FROM marked WHERE old_reason_status IS NOT NULL
    ),
    reason_update AS (
        INSERT INTO marketing_reasons AS r (org_id, campaign_id, status, reason, smtp_code, enhanced_code, sends)
        SELECT campaign.org_id, this_campaign, status, reason, smtp_code, enhanced_code, sum(sends)
        FROM reason_move GROUP BY status, reason, smtp_code, enhanced_code HAVING sum(sends) <> 0
        ON CONFLICT (campaign_id, status, reason, smtp_code, enhanced_code) DO UPDATE SET sends = r.sends + excluded.sends
    ),
    timeline_update AS (
        INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, delivered)
        SELECT campaign.org_id, this_campaign, date_trunc('minute', clock_timestamp()), new_delivered
        FROM total WHERE greatest(new_delivered) > 0
        ON CONFLICT (campaign_id, minute) DO UPDATE
        SET delivered = t.delivered + excluded.delivered
    )
    SELECT (SELECT coalesce(array_agg(id), '{}') FROM recorded),
           coalesce(array_agg(id), '{}'), coalesce(array_agg(attempts), '{}'),
           coalesce(array_agg(tries), '{}'), coalesce(array_agg(marked_at), '{}')
    INTO recorded_ids, marked_ids, marked_attempts, marked_tries, first_marked_at
    FROM marked WHERE status = 'SENDING';
END
$$;

REVOKE ALL ON FUNCTION marketing_commit_results_v2 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_commit_results_v2 TO marketing_worker;
