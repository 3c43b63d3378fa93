-- Records loads of the pixels of many sends, of any organisation, in one transaction and one round trip.
--
-- Called by: ledger/opens.py, in the API. It runs as its owner, past row-level security: the ids come out of signed
-- tokens, and the result says nothing about the sends.
-- Takes: one entry per load, with the reason why the load looks like a machine's (null: it does not). A load within
--   `soon_seconds` after the delivery counts as a machine's, for `soon_reason`.
-- Returns: how many sends were loaded; unknown ids are ignored.
--
-- The settings keep every look-up on the primary keys; see commit_results_v1.sql.
-- The search path of the function: its own schema, and last the caller's temporary objects. If pg_temp is not named,
-- PostgreSQL looks for tables and types there first, and the function would run a caller's view as its owner.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);
CREATE OR REPLACE FUNCTION marketing_record_opens_v1(
    send_ids uuid[], machine_reasons text[], soon_seconds float8, soon_reason text, OUT known int
)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
BEGIN
    -- A statement that moves sends locks the campaigns' rows first, always in the order of their ids.
    PERFORM FROM marketing_campaigns c
    WHERE c.id IN (SELECT DISTINCT s.campaign_id FROM marketing_sends s WHERE s.id = ANY(send_ids))
    ORDER BY c.id FOR NO KEY UPDATE;

    WITH load AS (
        SELECT r.id, count(*) AS loads, bool_or(r.reason IS NULL) AS human_likely, min(r.reason) AS reason
        FROM unnest(send_ids, machine_reasons) AS r (id, reason) GROUP BY r.id
    ),
    moved AS (
        UPDATE marketing_sends s
        SET opened_at = coalesce(s.opened_at, clock_timestamp()), last_opened_at = clock_timestamp(),
            open_count = s.open_count + load.loads,
            machine_reason = CASE
                WHEN s.opened_at IS NOT NULL AND s.machine_reason IS NULL THEN NULL
                WHEN clock_timestamp() < coalesce(s.sent_at, s.marked_at) + soon_seconds * interval '1 second'
                    THEN coalesce(s.machine_reason, load.reason, soon_reason)
                WHEN load.human_likely THEN NULL
                ELSE coalesce(s.machine_reason, load.reason)
            END,
            {{proves_delivery}}
        FROM load WHERE s.id = load.id
        RETURNING
            {{counter_deltas}},
            s.campaign_id, s.org_id
    ),
    total AS (
        SELECT campaign_id, min(org_id) AS org_id, count(*) AS sends,
               {{counter_sums}},
               {{timeline_firsts}}
        FROM moved GROUP BY campaign_id
    ),
    campaign_update AS (
        UPDATE marketing_campaigns c
        SET {{counter_increments}}
        FROM total
        -- A later load of an opened pixel moves no counter: the campaign's row is then left alone.
        WHERE c.id = total.campaign_id AND ({{any_counter_moves}})
    ),
    timeline_update AS (
        {{timeline_upsert}}
    )
    SELECT coalesce(sum(sends), 0) INTO known FROM total;
END
$$;

REVOKE ALL ON FUNCTION marketing_record_opens_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_record_opens_v1 TO marketing_api;
