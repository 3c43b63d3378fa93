"""An nginx in front of the API (Debian's package), which serves it below a path prefix."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.devstack.process import free_port
from tests.support.accepting import until_it_accepts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

COMMAND = "nginx"

# A `proxy_pass` with a path replaces the prefix by it. One without a path passes on the path as the client sent it.
_CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder};
  proxy_temp_path {folder};
  fastcgi_temp_path {folder};
  uwsgi_temp_path {folder};
  scgi_temp_path {folder};
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  server {{
    listen 127.0.0.1:{removing};
    location {prefix}/ {{ proxy_pass http://127.0.0.1:{api}/; }}
    location /api/auth/ {{ proxy_pass http://127.0.0.1:{api}; }}
  }}
  server {{
    listen 127.0.0.1:{keeping};
    location {prefix}/ {{ proxy_pass http://127.0.0.1:{api}; }}
    location /api/auth/ {{ proxy_pass http://127.0.0.1:{api}; }}
  }}
}}
"""


class Origins(NamedTuple):
    """The origins of the proxy: one removes the prefix, one keeps it. Both have a log-in at `/api/auth/`."""

    removing: str
    keeping: str


def missing() -> str | None:
    """The reason why this machine cannot run an nginx, or None if it can."""
    return None if shutil.which(COMMAND) else f"{COMMAND} is not installed (Debian's package nginx-light)"


@asynccontextmanager
async def nginx(folder: Path, prefix: str, *, api: int) -> AsyncIterator[Origins]:
    """Run a proxy before the API at this port. It connects to it at the first request."""
    removing, keeping = free_port(), free_port()
    file = folder / "nginx.conf"
    file.write_text(
        _CONFIGURATION.format(folder=folder, prefix=prefix, removing=removing, keeping=keeping, api=api),
        encoding="utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "-c", str(file), "-p", str(folder), "-e", str(folder / "nginx.log")),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for port in (removing, keeping):
            await until_it_accepts(process, port, name=f"nginx (see {folder}/nginx.log)")
        yield Origins(f"http://127.0.0.1:{removing}", f"http://127.0.0.1:{keeping}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
