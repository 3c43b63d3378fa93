-- Generated from templates/release_batch_v1.sql by `make sql`; change the template, not this file.
--
-- Releases a batch that a worker has claimed. The batch is deleted if none of its sends is unsettled; otherwise it
-- waits to be enqueued again, under a new epoch.
--
-- Called by: store/batches.py, in the worker, and marketing_release_and_claim_batch_v1.
-- Contract: changes nothing if the batch has another epoch by now.
CREATE FUNCTION marketing_release_batch_v1(this_campaign uuid, this_number int, this_epoch int) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
BEGIN
    PERFORM FROM marketing_campaigns WHERE id = this_campaign FOR NO KEY UPDATE;
    DELETE FROM marketing_batches b
    WHERE b.campaign_id = this_campaign AND b.number = this_number AND b.epoch = this_epoch
      AND NOT EXISTS (SELECT FROM marketing_sends s
                      WHERE s.campaign_id = b.campaign_id AND s.batch = b.number
                        AND s.status IN ('QUEUED', 'DEFERRED', 'SENDING'));
    -- A mark can be committed and its result be missing, for example after PostgreSQL has restarted. Such a send must
    -- not be stranded: the lease of its batch ends now, and the sweep settles it.
    UPDATE marketing_batches b
    SET epoch = b.epoch + CASE WHEN marked THEN 0 ELSE 1 END, enqueued_at = NULL,
        lease_until = CASE WHEN marked THEN clock_timestamp() END
    FROM (
        SELECT EXISTS (SELECT FROM marketing_sends s
                       WHERE s.campaign_id = this_campaign AND s.batch = this_number AND s.status = 'SENDING') AS marked
    ) AS left_over
    WHERE b.campaign_id = this_campaign AND b.number = this_number AND b.epoch = this_epoch;
END
$$;

REVOKE ALL ON FUNCTION marketing_release_batch_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marketing_release_batch_v1 TO marketing_worker;
