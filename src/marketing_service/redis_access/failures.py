"""What an error of Redis means: an outage, with its true cause."""

from __future__ import annotations

import ssl

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from marketing_service.errors import Unavailable
from marketing_service.open_files import TOO_MANY_OPEN_FILES, causes, too_many_open_files

REDIS_FAILURES = (RedisError, OSError, TimeoutError)
"""What the client raises. `ssl.SSLError` is an OSError."""


class WrongRedis(Exception):
    """The server, or its configuration, is of a kind that cannot be used. Waiting does not help."""


CLUSTER = "is a cluster, which this service cannot use: give it a Redis of its own"
_ENDED = "has ended the connection"
_CAUSES: tuple[tuple[type[Exception], str], ...] = (
    (NoPermissionError, "does not give this service the rights that it needs"),
    (AuthenticationError, "refuses the log-in of this service"),
    (AuthorizationError, "refuses the log-in of this service"),
    (ReadOnlyError, "is read-only: a replica"),
    (OutOfMemoryError, "has no memory left for what this service writes"),
    (BusyLoadingError, "is loading its data"),
    (ssl.SSLError, "cannot be reached over TLS"),
    (ConnectionResetError, _ENDED),
    (BrokenPipeError, _ENDED),
)
_CLOSED = "Connection closed by server"
"""What the client says if a connection ends without an error."""
# Replies that the client has no class of its own for, by their first word.
_WORDS = {
    "CLUSTERDOWN": CLUSTER,
    "CROSSSLOT": CLUSTER,
    "MOVED": CLUSTER,
    "MASTERDOWN": "is a replica that has lost its primary",
    "MISCONF": "cannot save its data, and so takes no more",
    "NOREPLICAS": "has too few replicas, and so takes no more",
}


def redis_unavailable(error: BaseException) -> Unavailable:
    """The outage that this error of Redis is."""
    if isinstance(error, WrongRedis):
        return Unavailable("Redis", f"Redis {error}.")
    line = str(error).partition("\n")[0][:300]
    cause = f"{type(error).__name__}: {line}" if line else type(error).__name__
    return Unavailable("Redis", f"Redis {_text(error)}; try again in a few seconds.", cause=cause)


def _text(error: BaseException) -> str:
    """What Redis does, as a sentence without its subject."""
    if too_many_open_files(error):
        return TOO_MANY_OPEN_FILES
    for cause in causes(error):  # the client wraps the errors of sockets and of Sentinels
        if (text := _text_of(cause)) is not None:
            return text
    return "has no primary that a Sentinel names" if isinstance(error, MasterNotFoundError) else "does not answer"


def _text_of(error: BaseException) -> str | None:
    for kind, text in _CAUSES:
        if isinstance(error, kind):
            return text
    if isinstance(error, ResponseError):
        # The script is not loaded: the client handles this error, and a later one may have it as its context.
        return None if isinstance(error, NoScriptError) else _WORDS.get(_first_word(error), "refuses a command")
    return _ENDED if _CLOSED in str(error) else None


def _first_word(error: ResponseError) -> str:
    """The first word of the server's reply. In a pipeline the client writes before it which command failed."""
    return str(error).rpartition("caused error: ")[2].lstrip("('\"").partition(" ")[0]
