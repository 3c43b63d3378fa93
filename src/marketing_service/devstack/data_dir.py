"""The data directory of `marketing-service dev`: the files that it keeps between runs."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marketing_service.devstack.process import DevstackError, file_lock, free_port, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SERVERS = ("api", "internal", "crm", "inbox", "smtp", "postgres", "valkey")
# The processes of a killed run stop by themselves. This is the maximum time to wait for that.
_ORPHAN_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Secrets:
    """Generated once per data directory, so that the tokens and links of an earlier run stay valid."""

    jwt_secret: str
    token_key: str
    crm_token: str

    @classmethod
    def generate(cls) -> Secrets:
        return cls(*(secrets.token_urlsafe(36) for _ in range(3)))


class DataDir:
    """A data directory and the paths in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.postgres = self.folder / "postgres"
        self.valkey = self.folder / "valkey"
        self.logs = self.folder / "logs"
        self.opt_outs = self.folder / "opt-outs.json"
        self._secrets = self.folder / "secrets.json"
        self._ports = self.folder / "ports.json"
        self._ready = self.folder / "ready.json"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Locks the directory for this run. Gives a file descriptor that the child processes must inherit.

        The lock on that descriptor ends with the last child, so that the next run waits for all of them.
        Raises DevstackError if another run has the lock.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        running = f"Another `marketing-service dev` is running in {self.folder}. Stop it, or choose another --data-dir."
        orphans = f"Processes of an earlier run in {self.folder} are still running. Stop them by hand."
        with (
            file_lock(self.folder / "lock", timeout=0.0, message=running),
            file_lock(self.folder / "children.lock", timeout=_ORPHAN_TIMEOUT_SECONDS, message=orphans) as inherited,
        ):
            self._ready.unlink(missing_ok=True)
            self.logs.mkdir(exist_ok=True)
            try:
                yield inherited
            finally:
                self._ready.unlink(missing_ok=True)

    def clear(self) -> None:
        """Deletes the data of earlier runs. Files that this class did not create stay."""
        for folder in (self.postgres, self.valkey):
            if folder.exists():
                in_use = f"{folder} is in use by another process."
                with file_lock(folder / "lock", timeout=_ORPHAN_TIMEOUT_SECONDS, message=in_use):
                    shutil.rmtree(folder)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir()
        for file in (self.opt_outs, self._secrets, self._ports):
            file.unlink(missing_ok=True)

    def secrets(self) -> Secrets:
        """The secrets of this directory. The first call generates them."""
        if not self._secrets.exists():
            write_private(self._secrets, json.dumps(asdict(Secrets.generate())))
        return Secrets(**json.loads(self._secrets.read_text(encoding="utf-8")))

    def ports(self, api: int) -> dict[str, int]:
        """A free port for each server: the one of the last run if it is still free, else any.

        `api` is the port that the user asked for; 0 means any. Raises DevstackError if that port is in use.
        """
        saved = json.loads(self._ports.read_text(encoding="utf-8")) if self._ports.exists() else {}
        if api and not _is_free(api):
            raise DevstackError(f"Port {api} is in use. Choose another one with --port, or any free one with --port 0.")
        chosen: dict[str, int] = {"api": api} if api else {}
        for name in _SERVERS:
            port = saved.get(name)
            while name not in chosen:
                if port and port not in chosen.values() and _is_free(port):
                    chosen[name] = port
                port = free_port()
        return chosen

    def save_ports(self, ports: Mapping[str, int]) -> None:
        write_private(self._ports, json.dumps(dict(ports)))

    def write_ready(self, content: Mapping[str, Any]) -> None:
        """Writes `ready.json`. Its existence tells other programs that everything is up; it contains the addresses."""
        write_private(self._ready, json.dumps(content, indent=2) + "\n")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Servers set this too. Without it, a connection that is still closing would make the port look used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
