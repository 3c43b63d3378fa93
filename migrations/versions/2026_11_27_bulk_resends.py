"""Send many sends of a campaign again on one request: the requests, and how far each has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLE = "marketing_resends"
ZERO = sa.text("0")
CLOCK = sa.text("clock_timestamp()")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=CLOCK, nullable=False),
        sa.Column("statuses", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("matching", sa.Integer(), nullable=False),
        sa.Column("accepted", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("refused", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("after_contact", sa.Text(collation="C"), server_default=sa.text("''"), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=CLOCK, nullable=False),
        sa.Column("failures", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("least(matching, accepted, failures) >= 0", name=op.f(f"ck_{TABLE}_no_negative_counter")),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing_campaigns.id"],
            name=op.f(f"fk_{TABLE}_campaign_id_marketing_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{TABLE}")),
    )
    op.create_index(
        f"ix_{TABLE}_unfinished",
        TABLE,
        ["campaign_id"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    # The API accepts requests. Only workers change what is accepted.
    op.execute(f"GRANT SELECT, INSERT ON {TABLE} TO marketing_api")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO marketing_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_organisation ON {TABLE} TO marketing_api "
        "USING (org_id = current_setting('marketing.org_id', true))"
    )
    op.execute(f"CREATE POLICY every_organisation ON {TABLE} TO marketing_worker USING (true)")


def downgrade() -> None:
    op.drop_table(TABLE)
