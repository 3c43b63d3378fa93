"""`marketing-service worker` as a process that a test kills, freezes or stops."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.dev import unmeasured_environment
from tests.support.world import CRM_TOKEN, ISSUER, JWT_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path


def worker_environment(*, database_url: str, redis_url: str, smtp_url: str, **settings: str) -> dict[str, str]:
    """The environment of `marketing-service worker`. It has no CRM: its campaigns are expanded already."""
    values = {
        "database_url": database_url,
        "redis_url": redis_url,
        "smtp_url": smtp_url,
        "crm_url": "http://127.0.0.1:9",
        "crm_token": CRM_TOKEN,
        "public_base_url": "http://127.0.0.1:8000",
        "token_keys": "a-token-key-of-at-least-thirty-two-bytes",
        "jwt_secret": JWT_SECRET,
        "jwt_issuer": ISSUER,
        "jwt_audience": "marketing",
        "retry_delays": "0.2,0.2",
        "sweep_seconds": "0.5",
        "requeue_seconds": "2",
        "lease_seconds": "5",
        "smtp_connections": "10",
        "log_level": "WARNING",
        "domain_backoff_seconds": "0.2",
        # Off: most tests make more requests than a person does. The tests of the limits set them.
        "api_rate_token": "",
        "api_rate_public": "",
        "api_rate_test": "",
    } | settings
    # These processes start many times. Other tests measure the coverage of their code.
    kept = {name: value for name, value in unmeasured_environment().items() if not name.startswith("MARKETING_")}
    return kept | {f"MARKETING_{name.upper()}": value for name, value in values.items()}


class WorkerProcess:
    """One `marketing-service worker` that can be started again. All its runs log to one file."""

    def __init__(self, environment: Mapping[str, str], log: Path, *options: str) -> None:
        self._environment = environment
        self._log = log
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "marketing_service", "worker", *self._options),
                env=dict(self._environment),
                stderr=log,
                stdout=log,
            )
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still exists."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def wait(self, seconds: float = 60) -> int:
        """Wait until the process has ended, and return its exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")


@asynccontextmanager
async def worker_process(environment: Mapping[str, str], log: Path, *options: str) -> AsyncIterator[WorkerProcess]:
    """Run a worker while the block runs, and kill it at the end if it still runs."""
    worker = WorkerProcess(environment, log, *options)
    await worker.start()
    try:
        yield worker
    finally:
        if worker.running:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
            await worker.wait()
