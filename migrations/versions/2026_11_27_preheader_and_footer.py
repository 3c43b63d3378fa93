"""Add the preheader of a message, and the language and the postal address of its footer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "marketing_campaigns"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("preheader", sa.Text(), nullable=True))
    # Existing messages have an English footer, and so do campaigns that a process of the last release saves.
    op.add_column(TABLE, sa.Column("language", sa.Text(), server_default=sa.text("'en'"), nullable=False))
    op.add_column(TABLE, sa.Column("postal_address", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_marketing_campaigns_language"), TABLE, "language IN ('en', 'de', 'fr', 'es')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_marketing_campaigns_language"), TABLE)
    op.drop_column(TABLE, "postal_address")
    op.drop_column(TABLE, "language")
    op.drop_column(TABLE, "preheader")
