"""Launch drafts at a scheduled time: the time zone of the time, and why a scheduled launch did not happen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLE = "marketing_campaigns"
COLUMNS = ("scheduled_time_zone", "schedule_problem_code", "schedule_problem_message")
# A campaign that a process of the last release launches may keep its schedule and its problem, so no constraint names
# the status.
CONSTRAINTS = {
    "scheduled_time_zone": "scheduled_time_zone IS NULL OR scheduled_at IS NOT NULL",
    "schedule_problem": "(schedule_problem_code IS NULL) = (schedule_problem_message IS NULL)",
}
INDEX = f"ix_{TABLE}_scheduled"


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column(TABLE, sa.Column(column, sa.Text(), nullable=True))
    for name, condition in CONSTRAINTS.items():
        op.create_check_constraint(op.f(f"ck_{TABLE}_{name}"), TABLE, condition)
    # The table has a row for each campaign, so building the index takes milliseconds.
    op.create_index(
        INDEX, TABLE, ["scheduled_at"], postgresql_where=sa.text("status = 'DRAFT' AND scheduled_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index(INDEX, TABLE)
    for name in CONSTRAINTS:
        op.drop_constraint(op.f(f"ck_{TABLE}_{name}"), TABLE)
    for column in reversed(COLUMNS):
        op.drop_column(TABLE, column)
