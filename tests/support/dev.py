"""`marketing-service dev` as a process, as a developer runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.support.orphans import descendants, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "marketing_service", "dev", "--contacts", "30"]
# Tests make more requests than a person does.
WIDE_LIMITS = {f"MARKETING_API_RATE_{limit}": "100000/second" for limit in ("TOKEN", "PUBLIC", "TEST")}
ANY_PORT = ("--port", "0")


def unmeasured_environment() -> dict[str, str]:
    """The environment without coverage: a process whose coverage is measured takes twice as long."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Dev:
    """One run of the command. With `below`, the process is a child of that command."""

    def __init__(self, data_dir: Path, *flags: str, below: tuple[str, ...] = (), **env: str) -> None:
        self.data_dir = data_dir
        self._started_at = time.time()
        self._output = data_dir.parent / f"{data_dir.name}.output"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*below, *COMMAND, "--data-dir", str(data_dir), *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=unmeasured_environment() | WIDE_LIMITS | env,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def ready(self) -> dict[str, Any]:
        """The content of `ready.json`, which the command writes when everything has started."""
        path = self.data_dir / "ready.json"
        deadline = time.monotonic() + 120
        # A process that was killed leaves its file behind, so an older file does not count.
        while not path.exists() or path.stat().st_mtime < self._started_at:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, wait until the process and all its descendants have ended, and return the exit code."""
        started = descendants(self.process.pid)
        self.process.send_signal(how)
        code = self.process.wait(60)
        wait_until_gone(*started)
        return code


@contextmanager
def running(data_dir: Path, *flags: str, below: tuple[str, ...] = (), **env: str) -> Iterator[Dev]:
    dev = Dev(data_dir, *flags, below=below, **env)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.stop()
