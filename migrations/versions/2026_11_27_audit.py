"""Add the audit trail: an append-only table of who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "marketing_audit"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("details", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_marketing_audit"),
    )
    op.create_index("ix_marketing_audit_newest", TABLE, ["org_id", sa.text("id DESC")])
    op.create_index(
        "ix_marketing_audit_campaign",
        TABLE,
        ["org_id", "campaign_id", sa.text("id DESC")],
        postgresql_where=sa.text("campaign_id IS NOT NULL"),
    )
    # Append-only: no role of the service may change or delete an entry. The owner deletes old entries.
    op.execute(f"GRANT SELECT, INSERT ON {TABLE} TO marketing_api")
    op.execute(f"GRANT INSERT ON {TABLE} TO marketing_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_organisation ON {TABLE} TO marketing_api "
        "USING (org_id = current_setting('marketing.org_id', true))"
    )
    op.execute(f"CREATE POLICY every_organisation ON {TABLE} TO marketing_worker USING (true)")


def downgrade() -> None:
    op.drop_table(TABLE)
