"""A real PostgreSQL 18 from a Python wheel, for development and tests."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from marketing_service.devstack.postgres_programs import programs, programs_for
from marketing_service.devstack.process import (
    Account,
    DevstackError,
    GuardedProcess,
    file_lock,
    free_port,
    write_private,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUPERUSER = "marketing"
_SERVER_ACCOUNTS = ("postgres", "nobody")
_START_SECONDS = 60.0
_ATTEMPTS = 5
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The server's own working directory. Resolving this path needs no permission on the parent directories, so
# PostgreSQL can run as another user on data below a directory that this user cannot enter.
_CURRENT_DIR = Path("/proc/self/cwd")


class PostgresServer:
    """A PostgreSQL server on a loopback port, with its data, log and password in `data_dir`.

    `port` 0 means any free one; later starts of this object use the same one. With `durable=False` the server is
    faster, but loses data if the machine crashes. If root starts it, it runs as another user, because PostgreSQL
    refuses to run as root.
    """

    name = "PostgreSQL"

    def __init__(self, data_dir: Path, *, port: int = 0, durable: bool = True) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port
        self._durable = durable
        self._cluster = self.data_dir / "cluster"
        self._process: GuardedProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server's main process."""
        return self._running().pid

    def url(self, database: str = "marketing") -> str:
        """The URL of a database, with the password."""
        user = f"{_SUPERUSER}:{quote(self._password, safe='')}"
        return f"postgresql://{user}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Starts the server and returns when it accepts queries. Raises DevstackError.

        The first start creates the cluster and the database `marketing`.
        """
        if self._process is not None:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        in_use = f"The PostgreSQL data in {self.data_dir} is in use by another process."
        with file_lock(self.data_dir / "lock", timeout=10.0, message=in_use) as lock:
            account = self._account()
            binaries = programs_for(account)
            if not self._cluster.exists():
                self._make_cluster(binaries, account)
            # We have the lock, so the process that wrote this file has ended. Its process id may be in use again.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            self._process = self._start_server(binaries, account, lock)
        if not self._query("SELECT 1 FROM pg_database WHERE datname = 'marketing'"):
            self.create_database("marketing")

    def stop(self) -> None:
        """Stops the server and closes its open connections."""
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

    def create_database(self, name: str, template: str | None = None) -> None:
        """Creates a database, as a copy of `template` if one is given. Raises DevstackError."""
        copied = f" TEMPLATE {_identifier(template)} STRATEGY file_copy" if template else ""
        self._query(f"CREATE DATABASE {_identifier(name)}{copied}")

    def drop_database(self, name: str) -> None:
        """Drops a database and closes its connections. A missing database is not an error. Raises DevstackError."""
        self._query(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")

    def _running(self) -> GuardedProcess:
        if self._process is None:
            raise DevstackError("PostgreSQL has not been started.")
        return self._process

    @cached_property
    def _password(self) -> str:
        """The superuser's password. It is generated once and stored next to the data."""
        kept = self.data_dir / "password"
        if not kept.exists():
            self.data_dir.mkdir(parents=True, exist_ok=True)
            write_private(kept, secrets.token_urlsafe(24))
        return kept.read_text(encoding="utf-8")

    def _account(self) -> Account | None:
        """The account that the server must run as, if not ours: the owner of its data, or an account for servers."""
        if os.geteuid() != 0:
            return None
        if sys.platform != "linux":
            raise DevstackError("PostgreSQL does not run as root. Run this as an ordinary user.")
        if self._cluster.exists():
            owner = self._cluster.stat()
            if owner.st_uid != 0:
                return Account(owner.st_uid, owner.st_gid)
        for name in _SERVER_ACCOUNTS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return Account(entry.pw_uid, entry.pw_gid)
        raise DevstackError(
            "PostgreSQL does not run as root, and this machine has no user named "
            f"{' or '.join(_SERVER_ACCOUNTS)}. Run this as an ordinary user."
        )

    def _make_cluster(self, binaries: Path, account: Account | None) -> None:
        temporary = self.data_dir / "cluster.unfinished"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        password, write = os.pipe()
        if account is not None:
            os.chown(temporary, account.uid, account.gid)
            os.fchown(password, account.uid, account.gid)
        os.write(write, self._password.encode() + b"\n")
        os.close(write)
        command: list[str | Path] = [
            binaries / "initdb",
            "--pgdata",
            temporary if account is None else _CURRENT_DIR,
        ]
        command += ["--username", _SUPERUSER, "--auth", "scram-sha-256", "--pwfile", "/dev/stdin"]
        command += ["--encoding", "UTF8", "--locale", "C"]
        command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        command += ["--no-instructions"]
        if not self._durable:
            # The derivation of a key takes longer than all other work of a log-in.
            command += ["--no-sync", "--set", "scram_iterations=1"]
        try:
            result = subprocess.run(  # noqa: S603 - our own arguments, no shell
                command,
                stdin=password,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=temporary,
                env=_environment_without_pg(),
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )
        finally:
            os.close(password)
        if result.returncode != 0:
            raise DevstackError(f"Could not create the PostgreSQL data in {self.data_dir}:\n{result.stdout.strip()}")
        temporary.rename(self._cluster)

    def _start_server(self, binaries: Path, account: Account | None, lock: int) -> GuardedProcess:
        requested = self.port
        for attempt in range(_ATTEMPTS):
            self.port = requested or free_port()
            process = GuardedProcess(
                "PostgreSQL",
                [
                    binaries / "postgres",
                    "-D",
                    self._cluster if account is None else _CURRENT_DIR,
                    *self._parameters(),
                ],
                log=self.data_dir / "postgres.log",
                cwd=self._cluster,
                env=_environment_without_pg(),
                user=account,
                stop_signal=signal.SIGINT,
                keep_open=[lock],
            )
            try:
                process.wait_until(self._is_ready, _START_SECONDS)
            except DevstackError:
                process.kill()
                # Another process may have taken the port after we looked for a free one.
                if requested or attempt == _ATTEMPTS - 1:
                    raise
            except BaseException:
                process.kill()
                raise
            else:
                return process
        raise AssertionError("unreachable")

    def _parameters(self) -> Iterator[str]:
        values = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            **({} if self._durable else _NOT_DURABLE),
        }
        for name, value in values.items():
            yield from ("-c", f"{name}={value}")

    def _is_ready(self) -> bool:
        """Whether the server accepts queries. Its state file is read first, to avoid connection errors in its log."""
        try:
            state = (self._cluster / "postmaster.pid").read_text(encoding="ascii").split("\n")
        except FileNotFoundError:
            return False
        return "ready" in (line.strip() for line in state[7:8]) and self._query("SELECT 1") == "1"

    def _query(self, sql: str) -> str:
        """The output of psql for one statement. psql is a synchronous client that the wheel contains already."""
        result = subprocess.run(  # noqa: S603 - our own arguments, no shell
            [programs() / "psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qtA", "-d", "postgres"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
            env={
                **_environment_without_pg(),
                "PGHOST": "127.0.0.1",
                "PGPORT": str(self.port),
                "PGUSER": _SUPERUSER,
                "PGPASSWORD": self._password,
                "PGCONNECT_TIMEOUT": "10",
            },
        )
        if result.returncode != 0:
            raise DevstackError(f"PostgreSQL refused {sql!r}: {result.stderr.strip()}")
        return result.stdout.strip()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _environment_without_pg() -> dict[str, str]:
    """Our environment without the PG… variables, which could lead the tools to another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
