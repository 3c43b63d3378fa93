"""Count what comes back (machine opens, clicks, opt-outs, bounces) by campaign and by the minute; keep suppressions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COUNTERS = ("machine_opens", "machine_opens_delivered", "clicks", "unsubscribes", "hard_bounces", "soft_bounces")
API_GRANTS = {
    "marketing_suppressions": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_soft_bounces": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_links": "SELECT, UPDATE",
    "marketing_clicks": "SELECT, INSERT, UPDATE",
    "marketing_timeline": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    _widen_campaigns_and_sends()
    _make_tables()
    for table, rights in API_GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO marketing_api")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO marketing_worker")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_organisation ON {table} TO marketing_api "
            "USING (org_id = current_setting('marketing.org_id', true))"
        )
        op.execute(f"CREATE POLICY every_organisation ON {table} TO marketing_worker USING (true)")


def _widen_campaigns_and_sends() -> None:
    op.add_column(
        "marketing_campaigns", sa.Column("track_clicks", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    for counter in COUNTERS:
        op.add_column(
            "marketing_campaigns", sa.Column(counter, sa.Integer(), server_default=sa.text("0"), nullable=False)
        )
    op.create_check_constraint(
        op.f("ck_marketing_campaigns_what_came_back"),
        "marketing_campaigns",
        "least(machine_opens, machine_opens_delivered, clicks, unsubscribes, hard_bounces, soft_bounces) >= 0 "
        "AND machine_opens <= opens AND machine_opens_delivered <= opens_delivered "
        "AND greatest(clicks, unsubscribes) <= recipients AND hard_bounces + soft_bounces <= failed",
    )
    op.add_column("marketing_sends", sa.Column("machine_reason", sa.Text(), nullable=True))
    op.add_column("marketing_sends", sa.Column("clicked_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_marketing_sends_machine_reason"),
        "marketing_sends",
        "machine_reason IS NULL OR opened_at IS NOT NULL",
    )
    # What had been opened, or had opted out, before there were these counters.
    op.execute(
        """
        UPDATE marketing_campaigns c SET unsubscribes = counted.unsubscribes
        FROM (SELECT campaign_id, count(*) AS unsubscribes FROM marketing_sends
              WHERE unsubscribed_at IS NOT NULL GROUP BY campaign_id) AS counted
        WHERE counted.campaign_id = c.id
        """
    )


def _make_tables() -> None:
    now = sa.text("now()")
    zero = sa.text("0")
    op.create_table(
        "marketing_suppressions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.CheckConstraint(
            "reason IN ('HARD_BOUNCE', 'SOFT_BOUNCES', 'MANUAL')", name=op.f("ck_marketing_suppressions_reason")
        ),
        sa.CheckConstraint("origin IN ('REPORT', 'API', 'CSV')", name=op.f("ck_marketing_suppressions_origin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketing_suppressions")),
        sa.UniqueConstraint("org_id", "address", name=op.f("uq_marketing_suppressions_org_id_address")),
    )
    op.create_index(
        "ix_marketing_suppressions_newest", "marketing_suppressions", ["org_id", sa.text("id DESC")], unique=False
    )
    op.create_table(
        "marketing_soft_bounces",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("in_a_row", sa.Integer(), nullable=False),
        sa.Column("last_send_id", sa.Uuid(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("org_id", "address", name=op.f("pk_marketing_soft_bounces")),
    )
    op.create_table(
        "marketing_links",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("clicks", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("total_clicks", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("machine_clicks", sa.Integer(), server_default=zero, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", name=op.f("pk_marketing_links")),
    )
    op.create_table(
        "marketing_clicks",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("send_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_clicked_at", sa.DateTime(timezone=True), server_default=now, nullable=False),
        sa.Column("clicks", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("send_id", "number", name=op.f("pk_marketing_clicks")),
    )
    op.create_table(
        "marketing_timeline",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("opens", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("clicks", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("unsubscribes", sa.Integer(), server_default=zero, nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "minute", name=op.f("pk_marketing_timeline")),
        postgresql_with={"fillfactor": "50"},
    )


def downgrade() -> None:
    op.drop_table("marketing_timeline")
    op.drop_table("marketing_clicks")
    op.drop_table("marketing_links")
    op.drop_table("marketing_soft_bounces")
    op.drop_index("ix_marketing_suppressions_newest", table_name="marketing_suppressions")
    op.drop_table("marketing_suppressions")
    op.drop_constraint(op.f("ck_marketing_sends_machine_reason"), "marketing_sends")
    op.drop_column("marketing_sends", "clicked_at")
    op.drop_column("marketing_sends", "machine_reason")
    op.drop_constraint(op.f("ck_marketing_campaigns_what_came_back"), "marketing_campaigns")
    for counter in reversed(COUNTERS):
        op.drop_column("marketing_campaigns", counter)
    op.drop_column("marketing_campaigns", "track_clicks")
