"""Make the statements read the rows of their own campaign, whatever the statistics say.

The statistics of a column describe the campaigns of the last ANALYZE. PostgreSQL concluded that a newer campaign has no
rows, and chose plans that read all its sends to find one. Therefore no statistics are collected of the columns that
name a campaign, a batch or, where lists are paged, an organisation. Without them, PostgreSQL expects a two-hundredth of
the table at any time, and uses the index that has all columns of the condition.

The due sends of a campaign and the pending opt-outs of an organisation get indexes of their own. The function that
commits results has the same effect as before, and reads each send and each list once for a mark. It keeps its name, so
that processes of the old version read less, too; `no_statistics_of_campaigns/` has its text, frozen.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FUNCTION = Path(__file__).with_name("no_statistics_of_campaigns") / "commit_results_v1.sql"
OLD_FUNCTION = Path(__file__).with_name("baseline") / "commit_results_v1.sql"

INDEXES = {
    "ix_marketing_sends_due_in_campaign": "marketing_sends (campaign_id, due_at) WHERE due_at IS NOT NULL",
    "ix_marketing_opt_outs_pending": "marketing_opt_outs (org_id) WHERE due_at IS NOT NULL",
}
COLUMNS = {
    "marketing_sends": ("campaign_id", "batch"),
    "marketing_batches": ("campaign_id", "number"),
    "marketing_staged_contacts": ("campaign_id", "epoch"),
    "marketing_links": ("campaign_id",),
    "marketing_timeline": ("campaign_id",),
    "marketing_suppressions": ("org_id",),
    "marketing_suppression_imports": ("org_id",),
    "marketing_audit": ("org_id",),
}


def _replace_function(file: Path) -> None:
    """Replace the function, whose signature stays. Only the CREATE statement is run: the grants stay, too."""
    text = file.read_text(encoding="utf-8")
    start = text.index("CREATE FUNCTION")
    end = text.index("$$;", start) + len("$$;")
    op.execute(text[start:end].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
            # ANALYZE leaves the old statistics of such a column as they are.
            op.execute(f"SELECT pg_clear_attribute_stats(current_schema(), '{table}', '{column}', false)")
    _replace_function(FUNCTION)
    with op.get_context().autocommit_block():
        for index, definition in INDEXES.items():
            # An index that an interrupted run has left is not valid.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")
            op.execute(f"CREATE INDEX CONCURRENTLY {index} ON {definition}")


def downgrade() -> None:
    """The next ANALYZE collects the statistics again."""
    _replace_function(OLD_FUNCTION)
    for index in INDEXES:
        op.execute(f"DROP INDEX {index}")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS DEFAULT")
