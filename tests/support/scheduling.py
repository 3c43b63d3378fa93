"""Which tests run in one process when there are several: those that share something that takes long to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

TOGETHER = {
    "tests/acceptance/test_campaign.py": "dev",
    "tests/acceptance/test_curl.py": "dev",
    "tests/acceptance/test_opting_out.py": "dev",
    "tests/acceptance/test_outages.py": "parts",
}


def scheduling(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Each test to whichever process is free, but for TOGETHER, which come first because they take longest.

    The mark `xdist_group` would say the same where it stands, had pytest 9.2 not taken away what it worked by.
    """
    made = LoadScopeScheduling(config, log)
    made._split_scope = lambda nodeid: TOGETHER.get(nodeid.partition("::")[0], nodeid)
    return made
