"""How many files and sockets this process may open, and whether an error has the cause that it may open no more."""

from __future__ import annotations

import errno
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOO_MANY_OPEN_FILES = "cannot be reached: this process has too many open files"
_NUMBERS = frozenset({errno.EMFILE, errno.ENFILE})


def too_many_open_files(error: BaseException) -> bool:
    """Whether this is the cause of the error, however libraries have wrapped it."""
    for cause in causes(error):
        if isinstance(cause, socket.gaierror):
            # The resolver needs files and sockets, and says only that it did not find the name.
            return _may_open_none()
        if isinstance(cause, OSError) and cause.errno in _NUMBERS:
            return True
    return False


def allow(number: int) -> None:
    """Let this process open so many files, or as many as its hard limit allows. Many systems start a process with
    1,024, although it may have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, the error that caused it, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _may_open_none() -> bool:
    try:
        with Path(os.devnull).open("rb"):
            return False
    except OSError as error:
        return error.errno in _NUMBERS
