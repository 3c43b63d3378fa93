"""A child process that cannot outlive this one, and what every embedded server needs around it."""

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

from marketing_service.devstack import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_POLL_SECONDS = 0.01
_TAIL_BYTES = 64_000


class DevstackError(Exception):
    """A part of the embedded default cannot be had; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user and group of this machine, by their numbers."""

    uid: int
    gid: int


class GuardedProcess:
    """A command under a guard: it is stopped when told to, and when this process ends in whatever way.

    Its output is appended to `log`. It runs in a session of its own, so a Ctrl-C in the terminal is ours to
    pass on, in our order. `keep_open` are descriptors it inherits.
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
        self._guard = subprocess.Popen(  # noqa: S603 - our own words, no shell
            # -I -S: nothing but the standard library can be imported, so it starts at once
            [sys.executable, "-I", "-S", guard.__file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            pass_fds=keep_open,
            start_new_session=True,
        )
        assert self._guard.stdout is not None  # noqa: S101 - a PIPE was asked for
        with self._guard.stdout as said:
            self.pid = int(said.readline() or 0)
        if not self.pid:
            raise DevstackError(f"{name} could not be started: its guard ended with {self._guard.wait()}.")

    def poll(self) -> int | None:
        """Its exit status, a signal as 128 + its number; None while it runs."""
        code = self._guard.poll()
        if code is not None:
            self._let_go()
        return code

    def stop(self) -> int:
        """Stop it, waiting at most the grace before it is killed; return its exit status."""
        self._let_go()
        try:
            return self._guard.wait(self._grace + 5)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            return self._guard.wait()

    def _let_go(self) -> None:
        """End the guard's standard input, which is what it waits for."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def kill(self) -> int:
        """Kill it with SIGKILL, as a crash would; return its exit status."""
        if self.poll() is None:
            # The guard has not reaped it yet, so the number is still this process's.
            os.kill(self.pid, signal.SIGKILL)
        return self.stop()

    def last_lines(self, count: int = 20) -> str:
        """The end of what it wrote since it was started, at most `count` lines."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - _TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until `ready()` is true.

        Raises DevstackError with its last lines when it ends, or when `timeout` seconds pass.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            code = self.poll()
            if code is not None:
                raise DevstackError(f"{self.name} ended with {code} while starting:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                raise DevstackError(f"{self.name} was not ready after {timeout:g} s:\n{self.last_lines()}")
            time.sleep(_POLL_SECONDS)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def locked(path: Path, *, patience: float, refusal: str) -> Iterator[int]:
    """Hold the file `path` locked; gives its descriptor.

    A child that inherits the descriptor goes on holding it, so what a killed run left is waited for, at most
    `patience` seconds. Raises DevstackError(refusal) then.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DevstackError(refusal) from None
                time.sleep(_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, atomically: a reader sees the old text or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
