"""Keep the relay's words with a pause, probe it at growing intervals, and give due retries their share."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

FUNCTION = Path(__file__).with_name("adapt_to_the_relay") / "release_and_claim_batch_v1.sql"
OLD_FUNCTION = Path(__file__).with_name("baseline") / "release_and_claim_batch_v1.sql"
API_TABLES = ("marketing_relay_pauses", "marketing_relay_throttles")
WORKER_TABLES = (*API_TABLES, "marketing_relay_probe")


def _replace_function(file: Path) -> None:
    """Replace the function, whose signature stays. Only the CREATE statement is run: the grants stay, too."""
    text = file.read_text(encoding="utf-8")
    start = text.index("CREATE FUNCTION")
    end = text.index("$$;", start) + len("$$;")
    op.execute(text[start:end].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))


def upgrade() -> None:
    op.add_column(
        "marketing_campaigns",
        sa.Column("first_retry_batch", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.create_table(
        "marketing_relay_pauses",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pauses", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing_campaigns.id"],
            name=op.f("fk_marketing_relay_pauses_campaign_id_marketing_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_marketing_relay_pauses")),
    )
    op.create_table(
        "marketing_relay_probe",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_marketing_relay_probe_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketing_relay_probe")),
    )
    op.create_table(
        "marketing_relay_throttles",
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("connections", sa.Integer(), nullable=False),
        sa.Column("messages_per_second", sa.Double(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing_campaigns.id"],
            name=op.f("fk_marketing_relay_throttles_campaign_id_marketing_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_marketing_relay_throttles")),
    )
    for table in API_TABLES:
        op.execute(f"GRANT SELECT ON {table} TO marketing_api")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_organisation ON {table} TO marketing_api "
            "USING (org_id = current_setting('marketing.org_id', true))"
        )
        op.execute(f"CREATE POLICY every_organisation ON {table} TO marketing_worker USING (true)")
    for table in WORKER_TABLES:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO marketing_worker")
    _replace_function(FUNCTION)


def downgrade() -> None:
    _replace_function(OLD_FUNCTION)
    for table in reversed(WORKER_TABLES):
        op.execute(f"DROP TABLE {table}")
    op.drop_column("marketing_campaigns", "first_retry_batch")
