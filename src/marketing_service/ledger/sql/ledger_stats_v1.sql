-- Generated from templates/ledger_stats_v1.sql by `make sql`; change the template, not this file.
--
-- Returns totals over every organisation: sends by state, how late the oldest due send is (seconds), and how many
-- opt-outs the CRM does not have yet.
--
-- Called by: store/stats.py, for /metrics. It runs as its owner, past row-level security; the totals name nobody.
-- Its cost grows with the number of campaigns, not with the number of sends.
-- The search path of the function: its own schema, and last the caller's temporary objects. If pg_temp is not named,
-- PostgreSQL looks for tables and types there first, and the function would run a caller's view as its owner.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);
CREATE OR REPLACE FUNCTION marketing_ledger_stats_v1(
    OUT queued bigint, OUT sending bigint, OUT deferred bigint, OUT delivered bigint, OUT failed bigint,
    OUT skipped bigint, OUT unconfirmed bigint, OUT oldest_due_seconds float, OUT opt_outs_pending bigint
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT coalesce(sum(c.queued), 0),
           coalesce(sum(c.sending), 0),
           coalesce(sum(c.deferred), 0),
           coalesce(sum(c.delivered), 0),
           coalesce(sum(c.failed), 0),
           coalesce(sum(c.skipped), 0),
           coalesce(sum(c.unconfirmed), 0),
           coalesce(extract(epoch FROM now() - least(
               min(c.expanded_at) FILTER (
                   WHERE c.queued > 0 AND c.status = 'SENDING' AND c.expanded_at IS NOT NULL AND c.paused_at IS NULL),
               (SELECT min(due_at) FROM marketing_sends WHERE due_at < now())
           )), 0),
           (SELECT count(*) FROM marketing_opt_outs WHERE due_at IS NOT NULL)
    FROM marketing_campaigns c
$$;

REVOKE ALL ON FUNCTION marketing_ledger_stats_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_ledger_stats_v1 TO marketing_api, marketing_worker;
