"""A further API with the console, beside that of `dev`."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.acceptance.portal import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def served(
    ready: dict[str, Any], port: int, *options: str, dev_login: bool = True, **changes: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The API with the console in a separate process, in addition to that of `dev`."""
    flags = ["--port", str(port), *options, *(["--dev-login"] if dev_login else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "marketing_service", "serve", *flags],
        env={**os.environ, **ready["env"], "MARKETING_CONSOLE": "true", **changes},
    )
    try:

        def responds() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/healthz").is_success
            except httpx.ConnectError:
                return False

        eventually(responds)
        yield process
    finally:
        process.terminate()
        process.wait(20)
