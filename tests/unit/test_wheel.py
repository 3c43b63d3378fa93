"""What the wheel contains, and so the image."""

from __future__ import annotations

from hatchling.builders.wheel import WheelBuilder

from tests.support.project import ROOT


def test_the_wheel_has_the_service_and_not_the_development_stack() -> None:
    """The development stack gives tokens to everybody."""
    files = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert "marketing_service/ledger/sql/commit_results_v1.sql" in files
    assert "marketing_service/py.typed" in files
    assert not [file for file in files if "devstack" in file]
