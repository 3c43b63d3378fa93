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
           {{unsettled_count}} AS unsettled
    INTO campaign FROM marketing_campaigns c WHERE c.id = this_campaign FOR NO KEY UPDATE;
    may_mark := FOUND
        AND {{may_mark}};
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
            {{counter_deltas}},
            {{new_reason}},
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
                          AND {{opt_out_blocks}}
                    ) THEN 'OPTED_OUT'
                    WHEN EXISTS (
                        SELECT FROM marketing_suppressions p WHERE p.org_id = s.org_id AND p.address = s.address
                    ) THEN 'SUPPRESSED'
                END AS skip
                OFFSET 0
            ) AS lists
        )
        FROM unnest(wanted_ids, wanted_batches, wanted_epochs) AS wanted (id, batch, epoch)
        WHERE s.id = wanted.id AND may_mark AND s.batch = wanted.batch AND {{is_waiting}}
          AND ({{predates_cancel}}) IS NOT TRUE
          AND EXISTS (SELECT FROM batch
                      WHERE batch.number = wanted.batch AND batch.epoch = wanted.epoch AND batch.is_leased)
        RETURNING
            {{counter_deltas}},
            {{old_reason}},
            {{new_reason}},
            s.id, s.status, s.attempts, s.tries, s.marked_at
    ),
    total AS (
        SELECT {{counter_sums}},
               {{timeline_firsts}},
               campaign.unsettled + sum({{unsettled_delta}}) = 0 AS is_finished
        FROM (
            SELECT {{counter_names}}
            FROM recorded
            UNION ALL
            SELECT {{counter_names}}
            FROM marked
        ) AS moved
        HAVING count(*) > 0
    ),
    campaign_update AS (
        UPDATE marketing_campaigns c
        SET {{counter_increments}},
            {{state_when_finished}}
        FROM total
        WHERE c.id = this_campaign
    ),
    -- A plain delivery, and a first mark, have no reason. A send that is recorded had none before, because it was
    -- marked or UNCONFIRMED.
    reason_move AS (
        SELECT {{new_key}}, 1 AS sends FROM recorded WHERE new_reason_status IS NOT NULL
        UNION ALL
        SELECT {{new_key}}, 1 FROM marked WHERE new_reason_status IS NOT NULL
        UNION ALL
        SELECT {{old_key}}, -1 FROM marked WHERE old_reason_status IS NOT NULL
    ),
    reason_update AS (
        {{reasons_upsert}}
    ),
    timeline_update AS (
        {{timeline_upsert}}
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
