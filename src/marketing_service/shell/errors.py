"""What ends a command, as one line and an exit code of sysexits.h."""

from __future__ import annotations

import os
from http import HTTPStatus

_CODES = {
    HTTPStatus.UNAUTHORIZED: os.EX_NOPERM,
    HTTPStatus.FORBIDDEN: os.EX_NOPERM,
    HTTPStatus.NOT_FOUND: os.EX_NOINPUT,
    HTTPStatus.TOO_MANY_REQUESTS: os.EX_TEMPFAIL,
    HTTPStatus.BAD_GATEWAY: os.EX_TEMPFAIL,
    HTTPStatus.SERVICE_UNAVAILABLE: os.EX_TEMPFAIL,
    HTTPStatus.GATEWAY_TIMEOUT: os.EX_TEMPFAIL,
}


class CommandFailed(Exception):
    """The command cannot do its work. The text is one line that says why, and what to do."""

    def __init__(self, detail: str, exit_code: int) -> None:
        super().__init__(" ".join(detail.split()))
        self.exit_code = exit_code


def exit_code_of(status: int) -> int:
    """The exit code for an error response: EX_NOPERM, EX_NOINPUT (there is no such thing), EX_TEMPFAIL (try again
    later), EX_DATAERR (another 4xx), or EX_SOFTWARE."""
    if status in _CODES:
        return _CODES[HTTPStatus(status)]
    return os.EX_DATAERR if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR else os.EX_SOFTWARE
