"""One run of `marketing-service dev` for all of these tests, and the clients of its users."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.portal import Portal
from tests.support.dev import ANY_PORT, Dev, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The whole service, in a folder with a space in its name. No process is left at the end."""
    data_dir = tmp_path_factory.mktemp("dev") / "data of mine"
    flags = (*ANY_PORT, "--contacts", "60")
    with running(data_dir, *flags, MARKETING_RETRY_DELAYS="0.3,0.3,0.3", MARKETING_SWEEP_SECONDS="0.3") as dev:
        dev.ready()
        yield dev
        assert dev.stop(signal.SIGTERM) == 0, dev.output


@pytest.fixture(scope="package")
def portal(dev: Dev) -> Iterator[Portal]:
    """The service as an administrator sees it."""
    ready = dev.ready()
    with ExitStack() as stack:

        def client(base_url: str, token: str | None = None) -> httpx.Client:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return stack.enter_context(httpx.Client(base_url=base_url, headers=headers, timeout=30))

        yield Portal(
            ready,
            api=client(f"{ready['api']}/api/marketing", ready["tokens"]["admin"]),
            crm=client(f"{ready['crm']}/api/crm/orgs/acme", ready["crmToken"]),
            inbox=client(ready["inbox"]),
        )
