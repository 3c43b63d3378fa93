"""Count the reasons for which sends failed, were skipped or are deferred.

The function that commits results gets a successor that counts them; `reasons/` has its text, frozen. Processes of the
last release do not count the sends that they move. When the last of them has ended, `marketing-service reconcile`
corrects the reasons of the campaigns that were sent meanwhile.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

FUNCTION = Path(__file__).with_name("reasons") / "commit_results_v2.sql"
TABLE = "marketing_reasons"
KEY = "status, reason, smtp_code, enhanced_code"
COUNT = f"""
    INSERT INTO {TABLE} (org_id, campaign_id, {KEY}, sends)
    SELECT org_id, campaign_id, status, coalesce(reason, ''),
           CASE WHEN status = 'SKIPPED' THEN 0 ELSE coalesce(smtp_code, 0) END AS smtp_code,
           CASE WHEN status = 'SKIPPED' THEN '' ELSE coalesce(enhanced_code, '') END AS enhanced_code,
           count(*)
    FROM marketing_sends WHERE status IN ('DEFERRED', 'FAILED', 'SKIPPED')
    GROUP BY 1, 2, 3, 4, 5, 6
"""


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=False),
        sa.Column("enhanced_code", sa.Text(), nullable=False),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "campaign_id", "status", "reason", "smtp_code", "enhanced_code", name=op.f(f"pk_{TABLE}")
        ),
        postgresql_with={"fillfactor": "50"},
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO marketing_api")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO marketing_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_organisation ON {TABLE} TO marketing_api "
        "USING (org_id = current_setting('marketing.org_id', true))"
    )
    op.execute(f"CREATE POLICY every_organisation ON {TABLE} TO marketing_worker USING (true)")
    op.execute(f"ALTER TABLE {TABLE} ALTER COLUMN campaign_id SET STATISTICS 0")
    op.execute(COUNT)
    text = FUNCTION.read_text(encoding="utf-8")
    for start, end in (("CREATE FUNCTION", "$$;"), ("REVOKE ALL", ";"), ("GRANT EXECUTE", ";")):
        first = text.index(start)
        op.execute(text[first : text.index(end, first) + len(end)])


def downgrade() -> None:
    op.execute("DROP FUNCTION marketing_commit_results_v2")
    op.drop_table(TABLE)
