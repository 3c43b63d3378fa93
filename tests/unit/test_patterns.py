"""No regular expression that reads text from outside backtracks: four times the text costs about four times the steps.

The steps are counted, not timed, so the result is the same on a busy machine.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import marketing_service
from tests.support.regex_steps import Steps, hostile_texts

if TYPE_CHECKING:
    from collections.abc import Iterator


NOT_TESTED = ("devstack", "settings", "ledger.functions", "__main__", "logs")
"""Their patterns read what an operator or a developer wrote. Those of the logs repeat up to a bound, so they grow
linearly only with longer texts: see test_logs.py."""
SIZE = 60
MAX_RATIO = 6.5
"""Steps for 4n ÷ steps for n. Linear is 4, quadratic is 16; short texts have some steps of their own."""
ENOUGH_STEPS = 3_000
"""Below this number of steps for 4n the ratio says nothing."""


def modules() -> Iterator[str]:
    root = marketing_service.__path__[0]
    for found in pkgutil.walk_packages([root], "marketing_service."):
        if not found.name.removeprefix("marketing_service.").startswith(NOT_TESTED):
            yield found.name


def patterns() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    found: dict[str, re.Pattern[str] | re.Pattern[bytes]] = {}
    for name in modules():
        for attribute, value in vars(importlib.import_module(name)).items():
            for number, one in enumerate(patterns_in(value)):
                found.setdefault(f"{name.removeprefix('marketing_service.')}:{attribute}:{number}", one)
    return found


def patterns_in(value: object) -> Iterator[re.Pattern[str] | re.Pattern[bytes]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict | tuple | list | set | frozenset):
        for one in value.values() if isinstance(value, dict) else value:
            yield from patterns_in(one)


def is_only_matched(name: str) -> bool:
    """Whether the code uses the pattern only at one position (`match`), and does not search with it."""
    module, attribute, _ = name.split(":")
    path = Path(importlib.import_module(f"marketing_service.{module}").__file__ or "")
    uses = re.findall(rf"\b{attribute}\b(?! =)(?:\.(\w+))?", path.read_text(encoding="utf-8"))
    return bool(uses) and set(uses) <= {"match", "fullmatch"}


def worst_ratio(pattern: re.Pattern[str] | re.Pattern[bytes], *, only_matched: bool = False) -> tuple[float, str]:
    steps, worst = Steps(pattern), (0.0, "")
    count = steps.match if only_matched else steps.search
    for short, long in zip(hostile_texts(pattern, SIZE), hostile_texts(pattern, 4 * SIZE), strict=True):
        try:
            large = count(long)
        except OverflowError:
            return float("inf"), short
        if large > ENOUGH_STEPS:
            worst = max(worst, (large / count(short), short))
    return worst


@pytest.mark.parametrize("name", patterns())
def test_the_steps_of_a_pattern_grow_with_the_text(name: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        ratio, text = worst_ratio(patterns()[name], only_matched=is_only_matched(name))
    finally:
        sys.setrecursionlimit(limit)
    assert ratio <= MAX_RATIO, f"{ratio:.1f} times the steps for four times the text {text!r}"


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "a+a+b", r"(?:[a-z](?:[a-z-]{0,61}[a-z])?\.?)+_", r"\s+$", r"([^\s=]+)\s*=\s*x", "<a.*?>", "a*b"],
)
def test_a_pattern_that_backtracks_is_found(pattern: str) -> None:
    assert worst_ratio(re.compile(pattern))[0] > MAX_RATIO


@pytest.mark.parametrize("pattern", [r"<[^<>]*+>", r"\A\s*+$", "[a-z]{1,5}x"])
def test_a_linear_pattern_is_accepted(pattern: str) -> None:
    assert worst_ratio(re.compile(pattern))[0] <= MAX_RATIO


def test_there_are_patterns_to_test() -> None:
    assert len(patterns()) > 50
