"""Options, markers and scheduling of all tests."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.chromium import NO_CHROMIUM, chromium
from tests.support.project import ROOT
from tests.support.scheduling import scheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["tests.support.fixtures"]

BROWSER = ROOT / "tests" / "browser"
# Their coverage is not measured: it doubles their time. The folders run the service as processes, or lines that other
# tests run; so do the files, with large tables or much generated input.
_WITHOUT_COVERAGE = (
    "acceptance", "chaos", "fuzz", "integration/api_contract", "integration/devstack", "simulation",
    "integration/api/test_audit.py",
    "integration/api/test_audit_reads.py",
    "integration/api/test_automated.py",
    "integration/api/test_bad_input.py",
    "integration/api/test_damaged_links.py",
    "integration/api/test_hostile_bodies.py",
    "integration/api/test_scanners.py",
    "integration/audience/test_crm_bounds.py",
    "integration/audience/test_crm_faults.py",
    "integration/delivery/test_faults.py",
    "integration/delivery/test_refusals.py",
    "integration/ledger/test_lifecycle.py",
    "integration/ledger/test_statement_costs.py",
    "integration/sending/test_fairness.py",
    "integration/sending/test_relay_limits.py",
    "integration/test_spellings.py",
    "unit/campaigns/test_csv_text.py",
    "unit/rendering/test_hrefs.py",
    "unit/rendering/test_linear.py",
    "unit/rendering/test_links.py",
    "unit/rendering/test_properties.py",
    "unit/reports/test_hostile_input.py",
    "unit/test_patterns.py",
)  # fmt: skip
UNMEASURED = {ROOT / "tests" / place for place in _WITHOUT_COVERAGE}


# The settings in a developer's environment must not change a test.
for name in [name for name in os.environ if name.startswith("MARKETING_")]:
    del os.environ[name]


# Generated inputs for each property: few in `make test`, many in `make fuzz`. No deadline: the machine may be busy.
settings.register_profile("short", deadline=None, max_examples=50)
settings.register_profile("fuzz", deadline=None, max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the chaos tests at full size")
    parser.addoption(
        "--fuzz", action="store_true", help="generate 10,000 inputs per reader, 500 requests per operation"
    )
    parser.addoption("--browser", action="store_true", help="run the tests of the console in a browser")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    return scheduling(config, log) if config.getoption("dist") == "load" else None


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("fuzz" if config.getoption("--fuzz") else "short")
    config.addinivalue_line("markers", "full: a scenario that runs only at full size")
    if config.getoption("--browser") and chromium() is None:
        raise pytest.UsageError(f"The tests of the console cannot run: {NO_CHROMIUM}.")


def pytest_collection_finish() -> None:
    """Leave the modules and the tests out of all later garbage collections: each would look at a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_coverage_in_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test without coverage starts processes without it, too."""
    if request.node.get_closest_marker("no_cover") is not None:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("full") is not None and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="runs only at full size: `make chaos`"))
        if not UNMEASURED.isdisjoint((item.path, *item.path.parents)):
            item.add_marker(pytest.mark.no_cover)
        if BROWSER in item.path.parents and not config.getoption("--browser"):
            reason = NO_CHROMIUM if chromium() is None else "runs only in a browser: `make test-browser`"
            item.add_marker(pytest.mark.skip(reason=reason))
