"""Leave room for as many new versions of sends as there are sends in a page.

They are marked, and recorded, in the order they lie in, so that one commit gives many rows of a page a new version.
With less room, one in eight of those went to another page, and into every index.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE marketing_sends SET (fillfactor = 50)")


def downgrade() -> None:
    op.execute("ALTER TABLE marketing_sends SET (fillfactor = 85)")
