"""Keep when a link of a send was last requested: a request for its unsubscribe link right after it is a machine's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("marketing_sends", sa.Column("link_requested_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("marketing_sends", "link_requested_at")
