-- Generated from templates/record_opens_v1.sql by `make sql`; change the template, not this file.
--
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
            status = CASE s.status WHEN 'UNCONFIRMED' THEN 'DELIVERED' ELSE s.status END,
            sent_at = CASE s.status WHEN 'UNCONFIRMED' THEN coalesce(s.sent_at, s.marked_at) ELSE s.sent_at END
        FROM load WHERE s.id = load.id
        RETURNING
            CAST(new.opened_at IS NOT NULL AS int)
                - CAST(old.opened_at IS NOT NULL AS int) AS opens,
            CAST(new.opened_at IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.opened_at IS NOT NULL AND old.status = 'DELIVERED' AS int) AS opens_delivered,
            CAST(new.machine_reason IS NOT NULL AS int)
                - CAST(old.machine_reason IS NOT NULL AS int) AS machine_opens,
            CAST(new.machine_reason IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.machine_reason IS NOT NULL AND old.status = 'DELIVERED' AS int) AS machine_opens_delivered,
            CAST(new.status = 'DELIVERED' AS int)
                - CAST(old.status = 'DELIVERED' AS int) AS delivered,
            CAST(new.status = 'UNCONFIRMED' AS int)
                - CAST(old.status = 'UNCONFIRMED' AS int) AS unconfirmed,
            s.campaign_id, s.org_id
    ),
    total AS (
        SELECT campaign_id, min(org_id) AS org_id, count(*) AS sends,
               sum(opens) AS opens,
               sum(opens_delivered) AS opens_delivered,
               sum(machine_opens) AS machine_opens,
               sum(machine_opens_delivered) AS machine_opens_delivered,
               sum(delivered) AS delivered,
               sum(unconfirmed) AS unconfirmed,
               count(*) FILTER (WHERE delivered > 0) AS new_delivered,
               count(*) FILTER (WHERE opens > 0) AS new_opens
        FROM moved GROUP BY campaign_id
    ),
    campaign_update AS (
        UPDATE marketing_campaigns c
        SET opens = c.opens + total.opens,
            opens_delivered = c.opens_delivered + total.opens_delivered,
            machine_opens = c.machine_opens + total.machine_opens,
            machine_opens_delivered = c.machine_opens_delivered + total.machine_opens_delivered,
            delivered = c.delivered + total.delivered,
            unconfirmed = c.unconfirmed + total.unconfirmed
        FROM total
        -- A later load of an opened pixel moves no counter: the campaign's row is then left alone.
        WHERE c.id = total.campaign_id AND (total.opens <> 0
                                            OR total.opens_delivered <> 0
                                            OR total.machine_opens <> 0
                                            OR total.machine_opens_delivered <> 0
                                            OR total.delivered <> 0
                                            OR total.unconfirmed <> 0)
    ),
    timeline_update AS (
        INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, delivered, opens)
        SELECT org_id, campaign_id, date_trunc('minute', clock_timestamp()), new_delivered, new_opens
        FROM total WHERE greatest(new_delivered, new_opens) > 0
        ON CONFLICT (campaign_id, minute) DO UPDATE
        SET delivered = t.delivered + excluded.delivered, opens = t.opens + excluded.opens
    )
    SELECT coalesce(sum(sends), 0) INTO known FROM total;
END
$$;

REVOKE ALL ON FUNCTION marketing_record_opens_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_record_opens_v1 TO marketing_api;
