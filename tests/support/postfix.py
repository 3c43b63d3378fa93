"""A Postfix for one test (Debian's package with its own configuration). It reports what it cannot deliver."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = "/usr/sbin/postfix"
DAEMONS = "/usr/lib/postfix/sbin"

# Postfix tries a message once. It tries a report every second for an hour.
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.acme.example
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
relayhost = [127.0.0.1]:{next_hop}
transport_maps = inline:{{ {bounce_domain}=lmtp:inet:[127.0.0.1]:{listener} }}
maximal_queue_lifetime = 0
bounce_queue_lifetime = 1h
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
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
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str | None:
    """The reason why this machine cannot run a Postfix, or None if it can."""
    if not os.access(COMMAND, os.X_OK):
        return f"{COMMAND} is not installed (Debian's package postfix)"
    if os.geteuid() != 0:
        return "only root can start a Postfix"
    return None


@asynccontextmanager
async def postfix(
    *, port: int, next_hop: int, listener: int = 1, bounce_domain: str = "bounces.invalid", settings: str = ""
) -> AsyncIterator[Path]:
    """A Postfix that accepts mail at `port`, relays it to `next_hop`, and delivers mail to the bounce domain to the
    LMTP `listener`. All ports are on 127.0.0.1. `settings` are further lines of main.cf. Yields the path of its log."""
    folder = _folder()
    etc = folder / "etc"
    names = {"folder": folder, "daemons": DAEMONS, "bounce_domain": bounce_domain}
    (etc / "main.cf").write_text(_MAIN.format(next_hop=next_hop, listener=listener, **names) + settings)
    (etc / "master.cf").write_text(_MASTER.format(port=port))
    try:
        await _run(etc, "start")
        yield folder / "log"
    finally:
        await _run(etc, "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """A folder that Postfix's processes can reach: they do not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    return folder


async def _run(settings: Path, command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "-c", str(settings), command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
