"""Create the ledger: campaigns, their sends and batches, opt-outs, test sends."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "marketing_batches",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enqueued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("enqueue_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", "number", name=op.f("pk_marketing_batches")),
    )
    op.create_index(
        "ix_marketing_batches_leased",
        "marketing_batches",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.create_index(
        "ix_marketing_batches_waiting",
        "marketing_batches",
        ["campaign_id"],
        unique=False,
        postgresql_where=sa.text("enqueued_at IS NOT NULL AND lease_until IS NULL"),
    )
    op.create_table(
        "marketing_campaigns",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=True),
        sa.Column("from_email", sa.Text(), nullable=False),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("html_body", sa.Text(), nullable=True),
        sa.Column("text_body", sa.Text(), nullable=True),
        sa.Column("audience_type", sa.Text(), server_default=sa.text("'ALL'"), nullable=False),
        sa.Column("audience_statuses", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'DRAFT'"), nullable=False),
        sa.Column("failure_code", sa.Text(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("launched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expanded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("expansion_epoch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expansion_lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expansion_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expansion_fetched", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("audience_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_batch", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("recipients", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("queued", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("sending", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deferred", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("skipped", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unconfirmed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("opens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("opens_delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "(audience_type = 'BY_STATUS') = (cardinality(audience_statuses) > 0)",
            name=op.f("ck_marketing_campaigns_audience_statuses"),
        ),
        sa.CheckConstraint(
            "(status = 'FAILED') = (failure_code IS NOT NULL)", name=op.f("ck_marketing_campaigns_failure")
        ),
        sa.CheckConstraint("audience_type IN ('ALL', 'BY_STATUS')", name=op.f("ck_marketing_campaigns_audience_type")),
        sa.CheckConstraint(
            "expanded_at IS NULL OR (status = 'SENT') = (queued + sending + deferred = 0)",
            name=op.f("ck_marketing_campaigns_sent_when_nothing_is_due"),
        ),
        sa.CheckConstraint(
            "status IN ('DRAFT', 'SENDING', 'SENT', 'FAILED')", name=op.f("ck_marketing_campaigns_status")
        ),
        sa.CheckConstraint(
            "status NOT IN ('DRAFT', 'FAILED') OR recipients = 0",
            name=op.f("ck_marketing_campaigns_no_rows_before_the_list"),
        ),
        sa.CheckConstraint(
            "(paused_at IS NULL) = (pause_reason IS NULL)", name=op.f("ck_marketing_campaigns_pause_reason")
        ),
        sa.CheckConstraint(
            "least(queued, sending, deferred, delivered, failed, skipped, unconfirmed, opens, opens_delivered) >= 0",
            name=op.f("ck_marketing_campaigns_no_negative_counter"),
        ),
        sa.CheckConstraint(
            "opens <= recipients AND opens_delivered <= delivered", name=op.f("ck_marketing_campaigns_opens")
        ),
        sa.CheckConstraint(
            "recipients = 0 OR expanded_at IS NOT NULL", name=op.f("ck_marketing_campaigns_no_rows_without_the_list")
        ),
        sa.CheckConstraint(
            "recipients = queued + sending + deferred + delivered + failed + skipped + unconfirmed",
            name=op.f("ck_marketing_campaigns_ledger_adds_up"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketing_campaigns")),
    )
    op.create_index(
        "ix_marketing_campaigns_newest",
        "marketing_campaigns",
        ["org_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_marketing_campaigns_sending",
        "marketing_campaigns",
        ["org_id"],
        unique=False,
        postgresql_where=sa.text("status = 'SENDING'"),
    )
    op.create_table(
        "marketing_opt_outs",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("contact_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("opted_out_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "(confirmed_at IS NULL) = (due_at IS NOT NULL)", name=op.f("ck_marketing_opt_outs_due_until_confirmed")
        ),
        sa.PrimaryKeyConstraint("org_id", "address", name=op.f("pk_marketing_opt_outs")),
    )
    op.create_index(
        "ix_marketing_opt_outs_due",
        "marketing_opt_outs",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "marketing_sends",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Text(collation="C"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("company_name", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("batch", sa.Integer(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("smtp_code", sa.SmallInteger(), nullable=True),
        sa.Column("enhanced_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unconfirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("consent_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unsubscribed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "due_at IS NULL OR (batch IS NULL AND status IN ('QUEUED', 'DEFERRED'))",
            name=op.f("ck_marketing_sends_due_at"),
        ),
        sa.CheckConstraint(
            "status IN ('QUEUED', 'SENDING', 'DEFERRED', 'DELIVERED', 'FAILED', 'SKIPPED', 'UNCONFIRMED')",
            name=op.f("ck_marketing_sends_status"),
        ),
        sa.CheckConstraint("(open_count = 0) = (opened_at IS NULL)", name=op.f("ck_marketing_sends_open_count")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketing_sends")),
        sa.UniqueConstraint("campaign_id", "contact_id", name=op.f("uq_marketing_sends_campaign_id_contact_id")),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_index(
        "ix_marketing_sends_batch",
        "marketing_sends",
        ["campaign_id", "batch"],
        unique=False,
        postgresql_where=sa.text("batch IS NOT NULL"),
    )
    op.create_index(
        "ix_marketing_sends_due",
        "marketing_sends",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("ix_marketing_sends_log", "marketing_sends", ["campaign_id", "address", "id"], unique=False)
    op.create_table(
        "marketing_staged_contacts",
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Text(collation="C"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(collation="C"), nullable=False),
        sa.Column("deliverable", sa.Boolean(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("company_name", sa.Text(), nullable=True),
        prefixes=["UNLOGGED"],
    )
    op.create_index(
        "ix_marketing_staged_contacts_attempt", "marketing_staged_contacts", ["campaign_id", "epoch"], unique=False
    )
    op.create_table(
        "marketing_test_mails",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("campaign_id", sa.Uuid(), nullable=False),
        sa.Column("recipients", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["marketing_campaigns.id"],
            name=op.f("fk_marketing_test_mails_campaign_id_marketing_campaigns"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketing_test_mails")),
    )
    op.create_index(op.f("ix_marketing_test_mails_campaign_id"), "marketing_test_mails", ["campaign_id"], unique=False)
    op.create_index(
        "ix_marketing_test_mails_due",
        "marketing_test_mails",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("started_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_marketing_test_mails_due", table_name="marketing_test_mails", postgresql_where=sa.text("started_at IS NULL")
    )
    op.drop_index(op.f("ix_marketing_test_mails_campaign_id"), table_name="marketing_test_mails")
    op.drop_table("marketing_test_mails")
    op.drop_index("ix_marketing_staged_contacts_attempt", table_name="marketing_staged_contacts")
    op.drop_table("marketing_staged_contacts")
    op.drop_index("ix_marketing_sends_log", table_name="marketing_sends")
    op.drop_index(
        "ix_marketing_sends_due", table_name="marketing_sends", postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.drop_index(
        "ix_marketing_sends_batch", table_name="marketing_sends", postgresql_where=sa.text("batch IS NOT NULL")
    )
    op.drop_table("marketing_sends")
    op.drop_index(
        "ix_marketing_opt_outs_due", table_name="marketing_opt_outs", postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.drop_table("marketing_opt_outs")
    op.drop_index(
        "ix_marketing_campaigns_sending",
        table_name="marketing_campaigns",
        postgresql_where=sa.text("status = 'SENDING'"),
    )
    op.drop_index("ix_marketing_campaigns_newest", table_name="marketing_campaigns")
    op.drop_table("marketing_campaigns")
    op.drop_index(
        "ix_marketing_batches_waiting",
        table_name="marketing_batches",
        postgresql_where=sa.text("enqueued_at IS NOT NULL AND lease_until IS NULL"),
    )
    op.drop_index(
        "ix_marketing_batches_leased",
        table_name="marketing_batches",
        postgresql_where=sa.text("lease_until IS NOT NULL"),
    )
    op.drop_table("marketing_batches")
