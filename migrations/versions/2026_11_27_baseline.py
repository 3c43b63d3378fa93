"""Create the whole schema: tables, roles, grants, row-level security and functions.

`baseline/` has the SQL text, frozen: it is not read from the package, whose functions change later.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BASELINE = Path(__file__).with_name("baseline")
ROLES = ("marketing_api", "marketing_worker")
API_GRANTS = {
    "marketing_campaigns": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_sends": "SELECT, UPDATE",
    "marketing_batches": "SELECT, DELETE",
    "marketing_opt_outs": "SELECT, INSERT, UPDATE",
    "marketing_suppressions": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_soft_bounces": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_links": "SELECT, UPDATE",
    "marketing_clicks": "SELECT, INSERT, UPDATE",
    "marketing_timeline": "SELECT, INSERT, UPDATE",
    "marketing_test_mails": "SELECT, INSERT",
    "marketing_idempotency_keys": "SELECT, INSERT, UPDATE",
    "marketing_preflights": "SELECT, INSERT, UPDATE",
}
"""The tables whose rows belong to an organisation, and what the API may do with the rows of its caller's."""
WORKER_ONLY = ("marketing_staged_contacts",)
# A function comes after the functions that it calls.
FUNCTIONS = (
    "commit_results_v1",
    "record_opens_v1",
    "release_batch_v1",
    "release_and_claim_batch_v1",
    "send_organisation_v1",
    "ledger_stats_v1",
)


def _statements(name: str) -> Iterator[str]:
    """The statements of a file. Each begins at the start of a line, and a function's body is indented."""
    text = (BASELINE / f"{name}.sql").read_text(encoding="utf-8")
    for statement in re.split(r";\n+(?=CREATE |REVOKE |GRANT |\Z)", text):
        if statement:
            yield statement


def upgrade() -> None:
    for role in ROLES:
        # Roles belong to the whole cluster: another database of it may have created them already. Who may not create
        # roles gets an error even for one that exists, so it is looked for first.
        op.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN "
            f"CREATE ROLE {role} NOLOGIN; END IF; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    for statement in _statements("tables"):
        op.execute(statement)
    for table, rights in API_GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO marketing_api")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_organisation ON {table} TO marketing_api "
            "USING (org_id = current_setting('marketing.org_id', true))"
        )
        op.execute(f"CREATE POLICY every_organisation ON {table} TO marketing_worker USING (true)")
    for table in (*API_GRANTS, *WORKER_ONLY):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO marketing_worker")
    for function in FUNCTIONS:
        for statement in _statements(function):
            op.execute(statement)


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION marketing_{function}")
    # In the reverse order, because two tables refer to the campaigns.
    for table in reversed((*WORKER_ONLY, *API_GRANTS)):
        op.execute(f"DROP TABLE {table}")
    # The roles stay: they belong to the cluster, and other roles may be members of them.
