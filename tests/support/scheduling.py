"""Which tests share a process when pytest runs several: those that share servers that take long to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

TOGETHER = {
    "tests/acceptance/test_audit.py": "audit",
    "tests/acceptance/test_campaign.py": "dev",
    "tests/acceptance/test_curl.py": "dev",
    "tests/acceptance/test_deployment.py": "deployment",
    "tests/acceptance/test_limits.py": "limits",
    "tests/acceptance/test_opting_out.py": "dev",
    "tests/acceptance/test_outages.py": "servers",
    "tests/integration/api_contract/test_schema.py": "contract",
    "tests/integration/ledger/test_statement_costs.py": "statement_costs",
}


def scheduling(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each test to the next free process, except the groups in TOGETHER. The groups start first, because they
    take longest.

    The mark `xdist_group` does not work with pytest 9.2, which removed the hook that it needs.
    """
    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda nodeid: TOGETHER.get(nodeid.partition("::")[0], nodeid)
    return scheduler
