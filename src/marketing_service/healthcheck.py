"""The health check of the image: asks the API at the address at which the command of the container lets it listen.

It is a program of its own that imports little, because it runs every few seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.request import urlopen

_SECONDS = 2
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - only compared


def health_url(command: list[str]) -> str | None:
    """The address of `/healthz` of the process with this command line. None if it serves no HTTP."""
    if "serve" not in command:
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="8000")
    parser.add_argument("--internal-host", default="127.0.0.1")
    parser.add_argument("--internal-port")
    options, _ = parser.parse_known_args(command[command.index("serve") + 1 :])
    host, port = options.internal_host, options.internal_port
    if port is None:
        host, port = options.host, options.port
    if host in _EVERY_ADDRESS:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/healthz" if ":" in host else f"http://{host}:{port}/healthz"


if __name__ == "__main__":
    arguments = Path("/proc/1/cmdline").read_bytes().decode().split("\0")
    url = health_url(arguments)
    if url is not None:
        try:
            urlopen(url, timeout=_SECONDS).close()  # noqa: S310 - http, see above
        except OSError as error:
            sys.exit(f"{url}: {error}")
