-- Generated from templates/release_and_claim_batch_v1.sql by `make sql`; change the template, not this file.
--
-- Releases a batch and claims the campaign's next batch that was not enqueued: after a batch of first tries, the lowest
-- batch with due retries, and else the lowest one. So due retries do not wait behind all first tries. It is one
-- transaction and one round trip, because during a release the campaign's row is locked, and every commit of the
-- campaign waits for it.
--
-- Called by: store/batches.py, in the worker.
-- Takes: the batch to release and its epoch; `lease` is in seconds.
-- Returns: the new claim and the sends that wait in its batch, one array per column. `number` is null if the campaign
--   has no further batch, may mark no more sends, or a batch of another campaign was enqueued within the last minute
--   and nobody has claimed it: a worker that goes on keeps its place, which that other campaign needs.
CREATE FUNCTION marketing_release_and_claim_batch_v1(
    this_campaign uuid, done_number int, done_epoch int, lease float8,
    OUT org_id text, OUT number int, OUT epoch int,
    OUT ids uuid[], OUT emails text[], OUT first_names text[], OUT last_names text[], OUT company_names text[]
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
BEGIN
    PERFORM marketing_release_batch_v1(this_campaign, done_number, done_epoch);
    UPDATE marketing_batches b
    SET epoch = b.epoch + 1, lease_until = clock_timestamp() + lease * interval '1 second',
        enqueued_at = clock_timestamp()
    FROM marketing_campaigns c
    WHERE c.id = this_campaign AND c.status = 'SENDING' AND c.expanded_at IS NOT NULL AND c.paused_at IS NULL
      AND b.campaign_id = c.id AND b.number = coalesce(
        CASE WHEN done_number < c.first_retry_batch THEN (
            SELECT free.number FROM marketing_batches free
            WHERE free.campaign_id = this_campaign AND free.number >= c.first_retry_batch
              AND free.enqueued_at IS NULL AND free.lease_until IS NULL
            ORDER BY free.number LIMIT 1) END,
        (SELECT free.number FROM marketing_batches free
         WHERE free.campaign_id = this_campaign AND free.enqueued_at IS NULL AND free.lease_until IS NULL
         ORDER BY free.number LIMIT 1))
      AND NOT EXISTS (
        SELECT FROM marketing_batches other
        WHERE other.enqueued_at > now() - interval '1 minute' AND other.lease_until IS NULL
          AND other.campaign_id <> this_campaign)
    RETURNING b.org_id, b.number, b.epoch INTO org_id, number, epoch;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(array_agg(s.id), '{}'), array_agg(s.email), array_agg(s.first_name), array_agg(s.last_name),
           array_agg(s.company_name)
    INTO ids, emails, first_names, last_names, company_names
    FROM (
        SELECT * FROM marketing_sends w
        WHERE w.campaign_id = this_campaign AND w.batch = marketing_release_and_claim_batch_v1.number
          AND w.status IN ('QUEUED', 'DEFERRED')
        ORDER BY w.id
    ) AS s;
END
$$;

REVOKE ALL ON FUNCTION marketing_release_and_claim_batch_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_release_and_claim_batch_v1 TO marketing_worker;
