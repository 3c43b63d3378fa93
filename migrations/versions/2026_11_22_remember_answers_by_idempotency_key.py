"""Remember what requests with an idempotency key were answered with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = "marketing_idempotency_keys"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", JSONB(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "key", name=op.f("pk_marketing_idempotency_keys")),
    )
    op.create_index("ix_marketing_idempotency_keys_created_at", TABLE, ["created_at"], unique=False)
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO marketing_api")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO marketing_worker")
    op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY own_organisation ON {TABLE} TO marketing_api "
        "USING (org_id = current_setting('marketing.org_id', true))"
    )
    op.execute(f"CREATE POLICY every_organisation ON {TABLE} TO marketing_worker USING (true)")


def downgrade() -> None:
    op.drop_index("ix_marketing_idempotency_keys_created_at", table_name=TABLE)
    op.drop_table(TABLE)
