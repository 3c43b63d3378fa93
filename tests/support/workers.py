"""Worker processes of the real command, to be killed, frozen and told to stop."""

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
    """What `marketing-service worker` needs. It has no CRM to speak of: the lists stand already."""
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
        "lease_seconds": "2",
        "smtp_connections": "10",
        "log_level": "WARNING",
        "domain_backoff_seconds": "0.2",
    } | settings
    # They are started again and again; their code is measured in other tests.
    kept = {name: value for name, value in unmeasured_environment().items() if not name.startswith("MARKETING_")}
    return kept | {f"MARKETING_{name.upper()}": value for name, value in values.items()}


class WorkerProcess:
    """One `marketing-service worker`, started again as often as asked. Its log is appended to one file."""

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
        """Reaches it if it still runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def wait(self, seconds: float = 30) -> int:
        """Its exit code, once it has ended."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")


@asynccontextmanager
async def worker_process(environment: Mapping[str, str], log: Path, *options: str) -> AsyncIterator[WorkerProcess]:
    """A worker that runs, and is gone when the block ends."""
    worker = WorkerProcess(environment, log, *options)
    await worker.start()
    try:
        yield worker
    finally:
        if worker.running:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
            await worker.wait()
