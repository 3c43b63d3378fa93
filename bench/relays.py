"""What mail is sent to: Postfix's `smtp-sink`, a sink of our own that can refuse, and a way there that takes time."""

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
MISSING = "smtp-sink and smtp-source are missing (apt-get install postfix): their columns are left out"


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink. `pid` is whose time is counted."""

    name: str
    port: int
    pid: int
    log: Path

    def accepted(self) -> int:
        """How many messages it took since it was started, as it says itself."""
        with self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            counts = re.findall(rb"mesg=(\d+)", log.read())
        return int(counts[-1]) if counts else 0


@contextmanager
def smtp_sink(folder: Path) -> Iterator[Sink]:
    """Postfix's sink, counting; ours where it is missing."""
    if SMTP_SINK is None:
        with own_sink(folder) as sink:
            yield sink
        return
    port = free_port()
    # As root it insists on becoming somebody else.
    account = ["-u", pwd.getpwnam("nobody").pw_name] if os.geteuid() == 0 else []
    with _running("smtp-sink", [SMTP_SINK, *account, "-c", f"127.0.0.1:{port}", "1000"], port, folder) as sink:
        yield sink


@contextmanager
def own_sink(folder: Path, *, deferred: int = 0, refused: int = 0) -> Iterator[Sink]:
    """Our sink: of 100 recipients it puts off `deferred` once (451) and refuses `refused` (550)."""
    port = free_port()
    command = [sys.executable, "-m", "bench.sink", f"--port={port}", f"--deferred={deferred}", f"--refused={refused}"]
    with _running("bench.sink", command, port, folder) as sink:
        yield sink


@contextmanager
def distant(port: int, folder: Path, *, round_trip: float) -> Iterator[int]:
    """A port that leads to `port`, with a round trip of so many seconds."""
    near = free_port()
    command = [sys.executable, "-m", "bench.distance", f"--port={near}", f"--to={port}", f"--round-trip={round_trip}"]
    with _running("bench.distance", command, near, folder):
        yield near


@contextmanager
def _running(name: str, command: list[str], port: int, folder: Path) -> Iterator[Sink]:
    log = folder / f"{name}-{port}.log"
    process = GuardedProcess(name, command, log=log)
    try:
        process.wait_until(lambda: _listens(port), _START_SECONDS)
        yield Sink(name, port, process.pid, log)
    finally:
        process.stop()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
