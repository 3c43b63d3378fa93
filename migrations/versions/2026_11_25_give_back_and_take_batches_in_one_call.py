"""Give a batch back and take the next one in one call, which is one transaction and one round trip.

Whoever gives a batch back holds the campaign's row, and all that is recorded of the campaign meanwhile waits: for
several statements, each a turn of a busy worker's loop, that would be a good part of its time.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_UNSETTLED = """
    EXISTS (SELECT FROM marketing_sends s WHERE s.campaign_id = b.campaign_id AND s.batch = b.number
            AND s.status IN ('QUEUED', 'DEFERRED', 'SENDING'))
"""
_QUICK = """
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
"""
RELEASE_KINDS = "uuid, int, int"
RELEASE = f"""
CREATE FUNCTION marketing_release_batch(this_campaign uuid, this_number int, this_epoch int) RETURNS void
LANGUAGE plpgsql
{_QUICK}
AS $$
BEGIN
    PERFORM FROM marketing_campaigns WHERE id = this_campaign FOR NO KEY UPDATE;
    DELETE FROM marketing_batches b
    WHERE b.campaign_id = this_campaign AND b.number = this_number AND b.epoch = this_epoch AND NOT {_UNSETTLED};
    -- A send whose mark was committed and never answered for, as when PostgreSQL went away at that moment, is not to
    -- be stranded: its batch's lease ends now, and the sweep settles it.
    UPDATE marketing_batches b
    SET epoch = b.epoch + CASE WHEN marked THEN 0 ELSE 1 END, enqueued_at = NULL,
        lease_until = CASE WHEN marked THEN clock_timestamp() END
    FROM (
        SELECT EXISTS (SELECT FROM marketing_sends s
                       WHERE s.campaign_id = this_campaign AND s.batch = this_number AND s.status = 'SENDING') AS marked
    ) AS left_over
    WHERE b.campaign_id = this_campaign AND b.number = this_number AND b.epoch = this_epoch;
END
$$
"""
NEXT_KINDS = "uuid, int, int, float8"
NEXT = f"""
CREATE FUNCTION marketing_next_batch(
    this_campaign uuid, done_number int, done_epoch int, lease float8,
    OUT org_id text, OUT number int, OUT epoch int,
    OUT ids uuid[], OUT emails text[], OUT first_names text[], OUT last_names text[], OUT company_names text[]
)
LANGUAGE plpgsql
{_QUICK}
AS $$
BEGIN
    PERFORM marketing_release_batch(this_campaign, done_number, done_epoch);
    -- Whoever goes on keeps its place in the worker: not while another campaign waits for one.
    UPDATE marketing_batches b
    SET epoch = b.epoch + 1, lease_until = clock_timestamp() + lease * interval '1 second', enqueued_at = now()
    FROM marketing_campaigns c
    WHERE c.id = this_campaign AND c.status = 'SENDING' AND c.expanded_at IS NOT NULL AND c.paused_at IS NULL
      AND b.campaign_id = c.id AND b.number = (
        SELECT free.number FROM marketing_batches free
        WHERE free.campaign_id = this_campaign AND free.enqueued_at IS NULL AND free.lease_until IS NULL
        ORDER BY free.number LIMIT 1)
      AND NOT EXISTS (
        SELECT FROM marketing_batches other
        WHERE other.enqueued_at > now() - interval '1 minute' AND other.lease_until IS NULL
          AND other.campaign_id <> this_campaign)
    RETURNING b.org_id, b.number, b.epoch INTO org_id, number, epoch;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(array_agg(s.id), '{{}}'), array_agg(s.email), array_agg(s.first_name), array_agg(s.last_name),
           array_agg(s.company_name)
    INTO ids, emails, first_names, last_names, company_names
    FROM (
        SELECT * FROM marketing_sends w
        WHERE w.campaign_id = this_campaign AND w.batch = marketing_next_batch.number
          AND w.status IN ('QUEUED', 'DEFERRED')
        ORDER BY w.id
    ) AS s;
END
$$
"""


def upgrade() -> None:
    for name, kinds, function in (
        ("marketing_release_batch", RELEASE_KINDS, RELEASE),
        ("marketing_next_batch", NEXT_KINDS, NEXT),
    ):
        op.execute(function)
        op.execute(f"REVOKE ALL ON FUNCTION {name}({kinds}) FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name}({kinds}) TO marketing_worker")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION marketing_next_batch({NEXT_KINDS})")
    op.execute(f"DROP FUNCTION marketing_release_batch({RELEASE_KINDS})")
