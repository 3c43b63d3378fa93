"""A Postfix of the test's own (Debian's package, another configuration), which reports what it cannot deliver."""

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

# Tried once and then given up, except for the reports themselves, which are tried every second for an hour.
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
transport_maps = inline:{{ {bounce_domain}=lmtp:inet:[127.0.0.1]:{door} }}
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
    """Why there can be none here, if so."""
    if not os.access(COMMAND, os.X_OK):
        return f"{COMMAND} is not installed (Debian's package postfix)"
    if os.geteuid() != 0:
        return "only root can start a Postfix"
    return None


@asynccontextmanager
async def postfix(*, port: int, next_hop: int, listener: int, bounce_domain: str) -> AsyncIterator[Path]:
    """It takes mail at `port`, passes it on to `next_hop`, and brings what comes back for the domain to the LMTP
    `door`; all on 127.0.0.1. Gives the file it logs to."""
    folder = _folder()
    settings = folder / "etc"
    names = {"folder": folder, "daemons": DAEMONS, "bounce_domain": bounce_domain}
    (settings / "main.cf").write_text(_MAIN.format(next_hop=next_hop, listener=listener, **names))
    (settings / "master.cf").write_text(_MASTER.format(port=port))
    try:
        await _run(settings, "start")
        yield folder / "log"
    finally:
        await _run(settings, "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """Its processes do not run as root, so no folder above may be closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
    folder.chmod(0o755)
    for name in ("etc", "queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    return folder


async def _run(settings: Path, order: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "-c", str(settings), order), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
