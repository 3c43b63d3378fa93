"""Start the counts of soft bounces again, because they now count days."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Delete the counts. They counted messages, and also refusals that were not about the address.

    An old count of two could stand for two messages of one hour, so that the next soft bounce would put the address on
    the suppression list. Without the counts, such an address gets some messages more.
    """
    op.execute("DELETE FROM marketing_soft_bounces")


def downgrade() -> None:
    """Nothing: the table is the same, and the counts of days are never higher than those of messages."""
