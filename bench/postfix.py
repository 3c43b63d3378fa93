"""A real Postfix as the relay of a benchmark: it queues each message, and its discard transport ends it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.relays import Sink, listens

from marketing_service.devstack.process import GuardedProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND = Path("/usr/sbin/postfix")
_IN_MEMORY = Path("/dev/shm")
_START_SECONDS = 20.0

# Without in_flow_delay=0, Postfix slows down its clients while it delivers more slowly than it receives.
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.bench.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
default_transport = discard
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str | None:
    """The reason why this machine cannot run a Postfix, or None if it can."""
    if not os.access(_COMMAND, os.X_OK):
        return "Postfix is missing (apt-get install postfix)"
    return None if os.geteuid() == 0 else "only root can start a Postfix"


@contextmanager
def postfix(folder: Path, *, on_disk: bool) -> Iterator[Sink]:
    """Start a Postfix with an empty queue, on disk or in memory. It accepts mail for any recipient, and discards it."""
    with tempfile.TemporaryDirectory(prefix="marketing-bench-", dir=folder if on_disk else _IN_MEMORY) as path:
        home = Path(path)
        home.chmod(0o755)  # Postfix's processes do not run as root
        for name in ("etc", "queue", "data"):
            (home / name).mkdir()
        shutil.chown(home / "data", "postfix")
        port = free_port()
        (home / "etc/main.cf").write_text(_MAIN.format(folder=home), encoding="ascii")
        (home / "etc/master.cf").write_text(_MASTER.format(port=port), encoding="ascii")
        process = GuardedProcess(
            "postfix", [_COMMAND, "-c", home / "etc", "start-fg"], log=folder / f"postfix-{port}.log"
        )
        try:
            process.wait_until(lambda: listens(port), _START_SECONDS)
            yield Sink("postfix", port, process.pid, home / "log", accepted_line=b": client=")
        finally:
            # It waits until the other processes of this Postfix have ended, too.
            subprocess.run([_COMMAND, "-c", home / "etc", "stop"], capture_output=True, check=False)
            process.stop()
