"""The data directory of `marketing-service dev`: what is kept in it from one start to the next."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from marketing_service.devstack.process import DevstackError, free_port, locked, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PARTS_WITH_PORTS = ("api", "crm", "inbox", "smtp", "postgres", "valkey")
# What a killed run has started stops by itself; this is how long that may take.
_ORPHANS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Secrets:
    """Made once per data directory, so that tokens and links of an earlier run go on working."""

    jwt_secret: str
    token_key: str
    crm_token: str

    @classmethod
    def made_up(cls) -> Secrets:
        return cls(*(secrets.token_urlsafe(36) for _ in range(3)))


class Home:
    """A data directory, and the names in it."""

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
    def held(self) -> Iterator[int]:
        """Hold the directory for this run alone; gives a descriptor for the processes it starts to inherit.

        Raises DevstackError where another run holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        running = f"Another `marketing-service dev` runs in {self.folder}: stop it, or choose another --data-dir."
        orphans = f"Processes of an earlier run in {self.folder} do not end: stop them by hand."
        with (
            locked(self.folder / "lock", patience=0.0, refusal=running),
            locked(self.folder / "children.lock", patience=_ORPHANS_SECONDS, refusal=orphans) as inherited,
        ):
            self._ready.unlink(missing_ok=True)
            self.logs.mkdir(exist_ok=True)
            try:
                yield inherited
            finally:
                self._ready.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what earlier runs have kept; nothing that is not ours."""
        for part in (self.postgres, self.valkey):
            if part.exists():
                in_use = f"{part} is in use by another process."
                with locked(part / "lock", patience=_ORPHANS_SECONDS, refusal=in_use):
                    shutil.rmtree(part)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir()
        for file in (self.opt_outs, self._secrets, self._ports):
            file.unlink(missing_ok=True)

    def secrets(self) -> Secrets:
        """The secrets of this directory, made the first time."""
        if not self._secrets.exists():
            write_private(self._secrets, json.dumps(asdict(Secrets.made_up())))
        return Secrets(**json.loads(self._secrets.read_text(encoding="utf-8")))

    def ports(self, api: int) -> dict[str, int]:
        """A free port for every part: the one it had, or any. `api` is the one asked for, 0 any.

        Raises DevstackError where the one asked for is taken.
        """
        kept = json.loads(self._ports.read_text(encoding="utf-8")) if self._ports.exists() else {}
        if api and not _is_free(api):
            raise DevstackError(f"Port {api} is in use: choose another with --port, or --port 0 for any.")
        chosen: dict[str, int] = {"api": api} if api else {}
        for part in _PARTS_WITH_PORTS:
            port = kept.get(part)
            while part not in chosen:
                if port and port not in chosen.values() and _is_free(port):
                    chosen[part] = port
                port = free_port()
        return chosen

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        write_private(self._ports, json.dumps(dict(ports)))

    def write_ready(self, facts: Mapping[str, Any]) -> None:
        """Say to whoever waits for `ready.json` that everything is up, and where."""
        write_private(self._ready, json.dumps(facts, indent=2) + "\n")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that connections that are closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
