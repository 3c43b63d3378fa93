"""Keep the last dry run of each campaign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "marketing_preflights"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'RUNNING'"), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fetched", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("report", JSONB(), nullable=True),
        sa.Column("errors", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("status IN ('RUNNING', 'DONE', 'FAILED')", name=op.f("ck_marketing_preflights_status")),
        sa.CheckConstraint(
            "(status = 'RUNNING') = (finished_at IS NULL)", name=op.f("ck_marketing_preflights_finished")
        ),
        sa.CheckConstraint(
            "(status = 'RUNNING') = (due_at IS NOT NULL)", name=op.f("ck_marketing_preflights_due_while_running")
        ),
        sa.CheckConstraint("(status = 'DONE') = (report IS NOT NULL)", name=op.f("ck_marketing_preflights_report")),
        sa.CheckConstraint("(status = 'FAILED') = (failure IS NOT NULL)", name=op.f("ck_marketing_preflights_failure")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing_campaigns.id"],
            name=op.f("fk_marketing_preflights_campaign_id_marketing_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_marketing_preflights")),
    )
    op.create_index(
        "ix_marketing_preflights_due", TABLE, ["due_at"], unique=False, postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO marketing_api")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO marketing_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_organisation ON {TABLE} TO marketing_api "
        "USING (org_id = current_setting('marketing.org_id', true))"
    )
    op.execute(f"CREATE POLICY every_organisation ON {TABLE} TO marketing_worker USING (true)")


def downgrade() -> None:
    op.drop_index("ix_marketing_preflights_due", table_name=TABLE, postgresql_where=sa.text("due_at IS NOT NULL"))
    op.drop_table(TABLE)
