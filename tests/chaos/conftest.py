"""The chaos tests: `make test` runs the shortest scenarios, and `make chaos` runs all of them at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.scenario import Outcome, Scenario, table

if TYPE_CHECKING:
    from collections.abc import Callable

_OUTCOMES = pytest.StashKey[list[Outcome]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_OUTCOMES] = []


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture
def begin(request: pytest.FixtureRequest, *, full: bool) -> Callable[[str], Scenario]:
    """Starts a scenario with this name. At full size it reports its progress on the terminal."""
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    outcomes = request.config.stash[_OUTCOMES]

    def say(line: str) -> None:
        if full and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(line)

    return lambda name: Scenario(name, say=say, note=outcomes.append)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    outcomes = config.stash[_OUTCOMES]
    if outcomes:
        terminalreporter.section("the two ledgers, reconciled")
        for line in table(outcomes):
            terminalreporter.write_line(line)
