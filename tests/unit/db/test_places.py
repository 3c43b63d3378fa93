"""Where SQL may stand."""

from __future__ import annotations

import ast
import re

from tests.support.project import ROOT

PACKAGE = ROOT / "src" / "marketing_service"
SQL_PLACES = ("ledger/", "store/", "devstack/", "db/", "audience/view.py")
SQL = re.compile(r"\s*(WITH\s.*\sAS|SELECT\s|INSERT INTO\s|UPDATE\s\w+\s+SET|DELETE FROM\s)", re.DOTALL)


def test_sql_text_stands_in_the_ledger_and_the_store_alone() -> None:
    """The lint rule bans what statements are made of; this finds SQL for the driver, which is plain text."""
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    }
    assert "ledger/commit_results.py" in found
    assert [path for path in sorted(found) if not path.startswith(SQL_PLACES)] == []
