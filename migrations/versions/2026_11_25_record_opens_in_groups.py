"""Record the opens of many sends, of any organisation, in one call.

It is the third narrow way past row-level security: it takes ids that came out of signed tokens, and tells nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KINDS = "uuid[], text[], float8, text"
FUNCTION = """
CREATE FUNCTION marketing_record_opens(
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
    -- Whoever moves a campaign's sends holds its row; of several, always in the same order.
    PERFORM FROM marketing_campaigns c
    WHERE c.id IN (SELECT DISTINCT s.campaign_id FROM marketing_sends s WHERE s.id = ANY(send_ids))
    ORDER BY c.id FOR NO KEY UPDATE;

    WITH load AS (
        SELECT r.id, count(*) AS loads, bool_or(r.reason IS NULL) AS human_likely, min(r.reason) AS reason
        FROM unnest(send_ids, machine_reasons) AS r (id, reason) GROUP BY r.id
    ),
    opened AS (
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
            -- Whoever loads the picture of an UNCONFIRMED send has received it.
            status = CASE s.status WHEN 'UNCONFIRMED' THEN 'DELIVERED' ELSE s.status END,
            sent_at = CASE s.status WHEN 'UNCONFIRMED' THEN coalesce(s.sent_at, s.marked_at) ELSE s.sent_at END
        FROM load WHERE s.id = load.id
        RETURNING s.campaign_id, s.org_id,
            CAST(old.opened_at IS NULL AS int) AS opens,
            CAST(new.machine_reason IS NOT NULL AS int) - CAST(old.machine_reason IS NOT NULL AS int) AS machine_opens,
            CAST(new.status = 'DELIVERED' AS int) - CAST(old.status = 'DELIVERED' AS int) AS delivered,
            CAST(new.status = 'DELIVERED' AS int)
                - CAST(old.opened_at IS NOT NULL AND old.status = 'DELIVERED' AS int) AS opens_delivered,
            CAST(new.machine_reason IS NOT NULL AND new.status = 'DELIVERED' AS int)
                - CAST(old.machine_reason IS NOT NULL AND old.status = 'DELIVERED' AS int) AS machine_opens_delivered
    ),
    tally AS (
        SELECT campaign_id, min(org_id) AS org_id, count(*) AS sends, sum(opens) AS opens,
               sum(machine_opens) AS machine_opens, sum(delivered) AS delivered,
               sum(opens_delivered) AS opens_delivered, sum(machine_opens_delivered) AS machine_opens_delivered
        FROM opened GROUP BY campaign_id
    ),
    counted AS (
        UPDATE marketing_campaigns c
        SET opens = c.opens + tally.opens, opens_delivered = c.opens_delivered + tally.opens_delivered,
            machine_opens = c.machine_opens + tally.machine_opens,
            machine_opens_delivered = c.machine_opens_delivered + tally.machine_opens_delivered,
            delivered = c.delivered + tally.delivered, unconfirmed = c.unconfirmed - tally.delivered
        FROM tally
        WHERE c.id = tally.campaign_id AND (
            tally.opens, tally.machine_opens, tally.delivered, tally.opens_delivered, tally.machine_opens_delivered
        ) <> (0, 0, 0, 0, 0)
    ),
    charted AS (
        INSERT INTO marketing_timeline AS t (org_id, campaign_id, minute, delivered, opens)
        SELECT org_id, campaign_id, date_trunc('minute', clock_timestamp()), delivered, opens
        FROM tally WHERE delivered > 0 OR opens > 0
        ON CONFLICT (campaign_id, minute) DO UPDATE
        SET delivered = t.delivered + excluded.delivered, opens = t.opens + excluded.opens
    )
    SELECT coalesce(sum(sends), 0) INTO known FROM tally;
END
$$
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute(f"REVOKE ALL ON FUNCTION marketing_record_opens({KINDS}) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION marketing_record_opens({KINDS}) TO marketing_api")


def downgrade() -> None:
    op.execute(f"DROP FUNCTION marketing_record_opens({KINDS})")
