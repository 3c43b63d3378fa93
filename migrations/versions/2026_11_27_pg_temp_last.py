"""Make the functions that run as their owner look for tables in their own schema only, and in pg_temp last.

With the search path of the baseline, a caller could create a temporary view with the name of a table, and the owner ran
the functions in that view. The functions keep their names: the hole closes for processes of the old version, too.
`pg_temp_last/` has the SQL text, frozen.

What a role may create is not part of a schema: `env.py` restricts it after every upgrade.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import op

if TYPE_CHECKING:
    from collections.abc import Iterator

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).with_name("pg_temp_last")
FUNCTIONS = ("record_opens_v1", "send_organisation_v1", "ledger_stats_v1")


def _statements(name: str) -> Iterator[str]:
    """The statements of a file. Each begins at the start of a line, and a function's body is indented."""
    text = (FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    for statement in re.split(r";\n+(?=SELECT |CREATE |REVOKE |GRANT |\Z)", text):
        if statement:
            yield statement


def upgrade() -> None:
    for function in FUNCTIONS:
        for statement in _statements(function):
            op.execute(statement)


def downgrade() -> None:
    """Leaves the functions as they are: the hole stays closed."""
