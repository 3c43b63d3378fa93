"""What README and docs state is what the code has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.settings import Settings
from marketing_service.store.states import MOVES, SendStatus
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = sorted([README, ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])

_SETTING = re.compile(r"^\| `(MARKETING_\w+)` \| (?:`([^`]+)`|(required|none)) \| .+ \|$", re.MULTILINE)
_MOVE = re.compile(r"^\| `([A-Z]+)` \| `([A-Z]+)` \| .+ \|$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def as_written(field: FieldInfo) -> str:
    """A setting's default as the environment would have it."""
    if field.is_required():
        return "required"
    value: Any = field.default
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, list):
        value = ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    return "none" if value in (None, "", {}) else str(value)


def test_the_settings_tables_name_every_setting_with_its_default() -> None:
    written = {name: code or word for name, code, word in _SETTING.findall(README.read_text(encoding="utf-8"))}
    assert written == {f"MARKETING_{name.upper()}": as_written(field) for name, field in Settings.model_fields.items()}


def test_the_table_of_moves_is_the_ledgers() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    moves = [(SendStatus(before), SendStatus(after)) for before, after in _MOVE.findall(text)]
    assert len(moves) == len(set(moves))
    assert set(moves) == MOVES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name} links to {link}"


def test_the_first_campaign_is_in_blocks_that_a_shell_can_run() -> None:
    section = README.read_text(encoding="utf-8").split("## A first campaign", 1)[1].split("\n## ", 1)[0]
    assert section.count("```sh\n") == section.count("```") // 2 > 0
