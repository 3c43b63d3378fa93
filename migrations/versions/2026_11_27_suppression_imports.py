"""Import files into the suppression list in steps: the imports, and what is left to be done of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

IMPORTS = "marketing_suppression_imports"
STEPS = "marketing_suppression_import_steps"
ZERO = sa.text("0")


def upgrade() -> None:
    op.create_table(
        IMPORTS,
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("added", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("known", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("repeated", sa.Integer(), nullable=False),
        sa.Column("rejected_rows", sa.Integer(), nullable=False),
        sa.Column("rejected", postgresql.JSONB(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "least(done, added, known, repeated, rejected_rows) >= 0", name=op.f(f"ck_{IMPORTS}_no_negative_counter")
        ),
        sa.CheckConstraint("greatest(done, rejected_rows) <= rows", name=op.f(f"ck_{IMPORTS}_rows")),
        sa.CheckConstraint(
            "finished_at IS NULL OR done = rows", name=op.f(f"ck_{IMPORTS}_finished_when_all_rows_are_done")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{IMPORTS}")),
    )
    op.create_index(f"ix_{IMPORTS}_newest", IMPORTS, ["org_id", sa.text("id DESC")])
    op.create_index(f"ix_{IMPORTS}_unfinished", IMPORTS, ["id"], postgresql_where=sa.text("finished_at IS NULL"))
    op.create_index(
        f"ix_{IMPORTS}_finished_at", IMPORTS, ["finished_at"], postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_table(
        STEPS,
        sa.Column("org_id", sa.Text(), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("addresses", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("notes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], [f"{IMPORTS}.id"], name=op.f(f"fk_{STEPS}_import_id_{IMPORTS}"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "number", name=op.f(f"pk_{STEPS}")),
    )
    # The API accepts files. Only workers change what is accepted.
    op.execute(f"GRANT SELECT, INSERT ON {IMPORTS}, {STEPS} TO marketing_api")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {IMPORTS}, {STEPS} TO marketing_worker")
    for table in (IMPORTS, STEPS):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_organisation ON {table} TO marketing_api "
            "USING (org_id = current_setting('marketing.org_id', true))"
        )
        op.execute(f"CREATE POLICY every_organisation ON {table} TO marketing_worker USING (true)")


def downgrade() -> None:
    op.drop_table(STEPS)
    op.drop_table(IMPORTS)
