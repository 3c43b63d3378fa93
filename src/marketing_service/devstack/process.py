"""A child process that ends when this process ends, and helpers for the embedded servers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marketing_service.devstack import stop_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_POLL_SECONDS = 0.01
_TAIL_BYTES = 64_000


class DevstackError(Exception):
    """A part of the development stack cannot run. The message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The ids of a user and a group of this machine."""

    uid: int
    gid: int


class GuardedProcess:
    """A command that is stopped by `stop()`, or when this process ends for any reason.

    A guard process (`stop_with_parent.py`) runs the command and stops it. The command's output is appended to `log`.
    It runs in its own session, so that a Ctrl-C in the terminal does not reach it: we stop the processes in our own
    order. The command inherits the file descriptors `keep_open`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        user: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10.0,
        keep_open: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._grace = grace_seconds
        log.touch(mode=0o600)
        self._log_start = log.stat().st_size
        plan = {
            "command": [str(part) for part in command],
            "cwd": str(cwd or Path.cwd()),
            "log": str(log.absolute()),
            "user": (user.uid, user.gid) if user else None,
            "stop_signal": int(stop_signal),
            "grace": grace_seconds,
        }
        self._guard = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            # -I -S: only the standard library can be imported, so the guard starts fast
            [sys.executable, "-I", "-S", stop_with_parent.__file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            pass_fds=keep_open,
            start_new_session=True,
        )
        assert self._guard.stdout is not None  # noqa: S101 - PIPE was given
        with self._guard.stdout as stdout:
            self.pid = int(stdout.readline() or 0)
        if not self.pid:
            raise DevstackError(
                f"{name} could not be started: its guard process ended with exit code {self._guard.wait()}."
            )

    def poll(self) -> int | None:
        """The exit status (128 + the number for a signal), or None while it runs."""
        code = self._guard.poll()
        if code is not None:
            self._close_stdin()
        return code

    def stop(self) -> int:
        """Stops the command and returns its exit status. Kills it after `grace_seconds`."""
        self._close_stdin()
        try:
            return self._guard.wait(self._grace + 5)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            return self._guard.wait()

    def _close_stdin(self) -> None:
        """Closes the guard's standard input, which makes the guard stop the command."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def kill(self) -> int:
        """Kills the command with SIGKILL, like a crash, and returns its exit status."""
        if self.poll() is None:
            # The guard has not reaped the process yet, so the id still belongs to it.
            os.kill(self.pid, signal.SIGKILL)
        return self.stop()

    def last_lines(self, count: int = 20) -> str:
        """The last lines of its output since the start, at most `count`."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Waits until `ready()` is true.

        Raises DevstackError, with the last lines of output, if the command ends or `timeout` seconds pass.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            code = self.poll()
            if code is not None:
                raise DevstackError(f"{self.name} ended with exit code {code} during its start:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise DevstackError(f"{self.name} was not ready after {timeout:g} s:\n{self.last_lines()}")
            time.sleep(_POLL_SECONDS)


def free_port() -> int:
    """A TCP port of the loopback interface that no process listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def file_lock(path: Path, *, timeout: float, message: str) -> Iterator[int]:
    """Locks the file `path` and gives its file descriptor.

    A child process that inherits the descriptor keeps the lock. So this also waits for the processes that a killed
    run has left, for at most `timeout` seconds. Raises DevstackError(message) after that time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DevstackError(message) from None
                time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read. The write is atomic: a reader sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
