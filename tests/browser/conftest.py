"""All browser tests share one run of `marketing-service dev` and one browser. Each test has its own page."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest
from playwright.async_api import expect

from tests.acceptance.portal import Portal
from tests.browser.console import Console
from tests.support.chromium import running_chromium
from tests.support.dev import ANY_PORT, Dev, running
from tests.support.orphans import descendants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from playwright.async_api import Browser

expect.set_options(timeout=20_000)


class Visit(Protocol):
    async def __call__(
        self, *, scheme: str = "light", width: int = 1280, origin: str | None = None, time_zone: str = "UTC"
    ) -> Console: ...


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    flags = (*ANY_PORT, "--contacts", "60")
    data_dir = tmp_path_factory.mktemp("browser") / "dev"
    with running(data_dir, *flags, MARKETING_RETRY_DELAYS="0.3,0.3,0.3", MARKETING_SWEEP_SECONDS="0.3") as dev:
        dev.ready()
        yield dev


@pytest.fixture(scope="session")
def ready(dev: Dev) -> dict[str, Any]:
    return dev.ready()


@pytest.fixture(scope="session")
def portal(ready: dict[str, Any]) -> Iterator[Portal]:
    """The API of the same service, to create the data for a test."""
    admin = {"Authorization": f"Bearer {ready['tokens']['admin']}"}
    crm = {"Authorization": f"Bearer {ready['crmToken']}"}
    with (
        httpx.Client(base_url=f"{ready['api']}/api/marketing", headers=admin, timeout=30) as api,
        httpx.Client(base_url=f"{ready['crm']}/api/crm/orgs/acme", headers=crm, timeout=30) as contacts,
        httpx.Client(base_url=ready["inbox"], timeout=30) as inbox,
    ):
        yield Portal(ready, api=api, crm=contacts, inbox=inbox)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_chromium() as browser:
        yield browser


@pytest.fixture
async def visit(browser: Browser, ready: dict[str, Any]) -> AsyncIterator[Visit]:
    """Opens pages of the console, each with its own cookies. At the end no page may have logged an unexpected error."""
    consoles: list[Console] = []
    async with AsyncExitStack() as stack:

        async def visit(
            *, scheme: str = "light", width: int = 1280, origin: str | None = None, time_zone: str = "UTC"
        ) -> Console:
            viewport = {"width": width, "height": 900}
            context = await browser.new_context(
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport=viewport,  # type: ignore[arg-type]
                locale="en-GB",
                timezone_id=time_zone,
            )
            stack.push_async_callback(context.close)
            page = await context.new_page()
            # A handler of a request that is not finished would fail in the next test: its page is closed by then.
            stack.push_async_callback(page.unroute_all, behavior="wait")
            consoles.append(Console(page, origin or ready["api"]))
            return consoles[-1]

        yield visit
        for console in consoles:
            assert console.unexpected_errors() == []


@pytest.fixture
async def console(visit: Visit) -> Console:
    return await visit()


@pytest.fixture
def frozen_worker(dev: Dev) -> Callable[[], AbstractContextManager[None]]:
    """Stops the worker processes (SIGSTOP) while a block runs, so that a campaign does not change."""

    @contextmanager
    def frozen() -> Iterator[None]:
        workers = [pid for pid in descendants(dev.process.pid) if _is_worker(pid)]
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)

    return frozen


def _is_worker(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"\0marketing_service\0worker\0")
