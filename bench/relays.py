"""The sinks of the benchmarks: Postfix's `smtp-sink`, our own sink that can refuse, and a proxy that adds delay."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.devstack.process import GuardedProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_SECONDS = 20.0
_TOOLS = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

SMTP_SINK = shutil.which("smtp-sink", path=_TOOLS)
SMTP_SOURCE = shutil.which("smtp-source", path=_TOOLS)
MISSING = (
    "smtp-sink and smtp-source are missing (apt-get install postfix): the benchmark skips the columns that need them"
)


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink. `pid` is the process whose processor time is measured."""

    name: str
    port: int
    pid: int
    log: Path
    accepted_line: bytes | None = None
    """Part of the line that the log has for each accepted message. None: the log has the total, as `mesg=`."""

    def accepted(self) -> int:
        """Messages that the sink has accepted since it started, read from its own output."""
        if self.accepted_line is not None:
            return self.log.read_bytes().count(self.accepted_line)
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            totals = re.findall(rb"mesg=(\d+)", log.read())
        return int(totals[-1]) if totals else 0


@contextmanager
def smtp_sink(folder: Path) -> Iterator[Sink]:
    """Start Postfix's sink, which prints how many messages it has accepted. Without Postfix, start our own sink."""
    if SMTP_SINK is None:
        with own_sink(folder) as sink:
            yield sink
        return
    port = free_port()
    # smtp-sink refuses to run as root: it needs the name of another account.
    account = ["-u", pwd.getpwnam("nobody").pw_name] if os.geteuid() == 0 else []
    with _running("smtp-sink", [SMTP_SINK, *account, "-c", f"127.0.0.1:{port}", "1000"], port, folder) as sink:
        yield sink


@contextmanager
def own_sink(folder: Path, *, deferred: int = 0, refused: int = 0) -> Iterator[Sink]:
    """Start our own sink. Of 100 recipients it defers `deferred` once (451) and refuses `refused` (550)."""
    port = free_port()
    command = [sys.executable, "-m", "bench.sink", f"--port={port}", f"--deferred={deferred}", f"--refused={refused}"]
    with _running("bench.sink", command, port, folder) as sink:
        yield sink


@contextmanager
def with_round_trip(port: int, folder: Path, *, round_trip: float) -> Iterator[int]:
    """Start a proxy to `port` that adds a delay of `round_trip` seconds. Returns the port of the proxy."""
    proxy_port = free_port()
    command = [
        sys.executable,
        "-m",
        "bench.distance",
        f"--port={proxy_port}",
        f"--to={port}",
        f"--round-trip={round_trip}",
    ]
    with _running("bench.distance", command, proxy_port, folder):
        yield proxy_port


@contextmanager
def _running(name: str, command: list[str], port: int, folder: Path) -> Iterator[Sink]:
    log = folder / f"{name}-{port}.log"
    process = GuardedProcess(name, command, log=log)
    try:
        process.wait_until(lambda: listens(port), _START_SECONDS)
        yield Sink(name, port, process.pid, log)
    finally:
        process.stop()


def listens(port: int) -> bool:
    """Whether a server accepts connections at the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
