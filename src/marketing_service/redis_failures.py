"""What an error of Redis means: an outage, with its true cause."""

from __future__ import annotations

import errno
import ssl

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from marketing_service.errors import Unavailable

REDIS_FAILURES = (RedisError, OSError, TimeoutError)
"""What the client raises. `ssl.SSLError` is an OSError."""

_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (NoPermissionError, "does not give this service the rights that it needs"),
    (AuthenticationError, "refuses the log-in of this service"),
    (AuthorizationError, "refuses the log-in of this service"),
    (ReadOnlyError, "is read-only: a replica"),
    (OutOfMemoryError, "has no memory left for what this service writes"),
    (BusyLoadingError, "is loading its data"),
    (MovedError, "is a cluster, which this service cannot use"),
)
# Replies that the client has no class of its own for, by their first word.
_WORDS = {
    "NOAUTH": "refuses the log-in of this service",
    "WRONGPASS": "refuses the log-in of this service",
    "CROSSSLOT": "is a cluster, which this service cannot use",
    "MISCONF": "cannot save its data, and so takes no more",
    "MASTERDOWN": "is a replica that has lost its primary",
    "NOREPLICAS": "has too few replicas, and so takes no more",
}


def redis_unavailable(error: BaseException) -> Unavailable:
    """The outage that this error of Redis is."""
    line = str(error).partition("\n")[0][:300]
    cause = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return Unavailable("Redis", f"Redis {_text(error)}; try again in a few seconds.", cause=cause)


def _text(error: BaseException) -> str:
    for kind, text in _CAUSES:
        if isinstance(error, kind):
            return text
    if isinstance(error, ResponseError):
        return _WORDS.get(str(error).partition(" ")[0], "refuses a command")
    if isinstance(error.__cause__ or error, ssl.SSLError):
        return "cannot be reached over TLS"
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return "cannot be reached: this process has too many open files"
    return "does not answer"
