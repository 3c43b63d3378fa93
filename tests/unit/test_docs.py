"""The README and the documents state what the code does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.ports import Rate
from marketing_service.settings import Settings
from marketing_service.store.states import MOVES, CampaignStatus, SendStatus
from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo

README = ROOT / "README.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(path for folder in ("docs", "deploy", "tests") for path in (ROOT / folder).rglob("*.md"))]
)

_SETTING = re.compile(r"^\| `(MARKETING_\w+)` \| (?:`([^`]+)`|(required|none)) \| .+ \|$", re.MULTILINE)
_MOVE = re.compile(r"^\| `([A-Z]+)` \| `([A-Z]+)` \| .+ \|$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_DIAGRAM = re.compile(r"^```mermaid\nstateDiagram-v2\n(.+?)^```$", re.MULTILINE | re.DOTALL)
_ARROW = re.compile(r"^ +([A-Z]+) --> ([A-Z]+)\b", re.MULTILINE)
_TERM = re.compile(r"^\| \*\*(.+?)\*\* \| .+ \| (.+) \|$", re.MULTILINE)
_PATH = re.compile(r"`([a-z_/]+(?:\.py|/))`")


def as_written(field: FieldInfo) -> str:
    """The default of a setting, as it is written in an environment variable."""
    if field.is_required():
        return "required"
    value: Any = field.default
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, list) and value and isinstance(value[0], Rate):
        periods = {1: "second", 60: "minute", 3600: "hour"}
        value = ",".join(f"{rate.messages}/{periods[rate.seconds]}" for rate in value)
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


def test_the_table_of_moves_is_that_of_the_ledger() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    moves = [(SendStatus(before), SendStatus(after)) for before, after in _MOVE.findall(text)]
    assert len(moves) == len(set(moves))
    assert set(moves) == MOVES


def test_the_diagrams_show_every_state_and_the_moves_of_the_table() -> None:
    campaign, send = _DIAGRAM.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    arrows = [(SendStatus(before), SendStatus(after)) for before, after in _ARROW.findall(send)]
    assert len(arrows) == len(set(arrows))
    assert set(arrows) == MOVES
    assert {CampaignStatus(state) for arrow in _ARROW.findall(campaign) for state in arrow} == set(CampaignStatus)


def test_the_glossary_is_in_order_and_names_modules_that_exist() -> None:
    terms = _TERM.findall(GLOSSARY.read_text(encoding="utf-8"))
    names = [term.lower() for term, _ in terms]
    assert len(names) > 50
    assert names == sorted(set(names))
    for term, places in terms:
        for path in _PATH.findall(places):
            assert (ROOT / "src" / "marketing_service" / path).exists(), f"{term} is not in {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in link:
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name} links to {link}"
            assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them in addresses."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_first_campaign_is_in_blocks_that_a_shell_can_run() -> None:
    section = README.read_text(encoding="utf-8").split("## A first campaign", 1)[1].split("\n## ", 1)[0]
    assert section.count("```sh\n") == section.count("```") // 2 > 0
