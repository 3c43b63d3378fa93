"""docs/security.md names tests that exist."""

from __future__ import annotations

import re

from tests.support.project import ROOT

_TEST = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def test_the_threat_model_names_tests_that_exist() -> None:
    named = _TEST.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    sources: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        sources[path.name] = sources.get(path.name, "") + path.read_text(encoding="utf-8")
    for file, test in named:
        assert f"def {test}(" in sources.get(file, ""), f"docs/security.md names {file}::{test}"
