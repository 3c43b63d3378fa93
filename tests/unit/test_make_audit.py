"""`make audit` without its data: it says that there is no result, and fails."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_without_its_data_it_says_that_nothing_was_audited(tmp_path: Path) -> None:
    """A proxy that refuses every connection."""
    stamp = tmp_path / ".test"
    stamp.touch()
    arguments = [f"PY={sys.executable}", f"VENV={tmp_path}", "--old-file", str(stamp), "audit"]
    no_network = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
    ended = subprocess.run(
        ["make", "--directory", str(ROOT), *arguments],
        env={**os.environ, **no_network, "NO_PROXY": "", "no_proxy": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode != 0
    assert "NOT AUDITED: pip-audit could not read its data" in ended.stderr
    assert "No known vulnerabilities" not in ended.stdout + ended.stderr
