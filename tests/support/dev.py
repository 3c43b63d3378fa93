"""`marketing-service dev`, run as a developer runs it."""

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
ANY_PORT = ("--port", "0")


def unmeasured_environment() -> dict[str, str]:
    """For a process whose coverage is not to be measured: that would take it twice as long."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Dev:
    """One run of the command; with `below`, as a child of that command."""

    def __init__(self, data_dir: Path, *flags: str, below: tuple[str, ...] = (), **env: str) -> None:
        self.data_dir = data_dir
        self._begun = time.time()
        self._output = data_dir.parent / f"{data_dir.name}.output"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*below, *COMMAND, "--data-dir", str(data_dir), *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=unmeasured_environment() | env,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def ready(self) -> dict[str, Any]:
        """The facts it writes when everything is up."""
        path = self.data_dir / "ready.json"
        deadline = time.monotonic() + 60
        # One that was killed has left its file behind, until the next begins.
        while not path.exists() or path.stat().st_mtime < self._begun:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        facts: dict[str, Any] = json.loads(path.read_text())
        return facts

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait until it and all that it has started is gone; returns its exit code."""
        everything = descendants(self.process.pid)
        self.process.send_signal(how)
        code = self.process.wait(20)
        wait_until_gone(*everything, seconds=15)
        return code


@contextmanager
def running(data_dir: Path, *flags: str, below: tuple[str, ...] = (), **env: str) -> Iterator[Dev]:
    dev = Dev(data_dir, *flags, below=below, **env)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.stop()
