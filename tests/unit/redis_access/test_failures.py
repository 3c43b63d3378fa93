"""The true cause of an error of Redis is named."""

from __future__ import annotations

import pytest
from redis import exceptions

from marketing_service.redis_access import redis_unavailable


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:9. Connection refused."), "does not answer"),
        (exceptions.TimeoutError("Timeout reading from socket"), "does not answer"),
        (exceptions.ConnectionError("Connection closed by server."), "has ended the connection"),
        (OSError(24, "Too many open files"), "too many open files"),
        (exceptions.AuthenticationError("invalid username-password pair"), "refuses the log-in"),
        (
            exceptions.NoPermissionError("no permissions to run the 'set' command"),
            "the rights that it needs",
        ),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "is read-only"),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "has no memory left"),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "is loading its data"),
        (exceptions.ResponseError("MOVED 1 127.0.0.1:7001"), "is a cluster"),
        (exceptions.ResponseError("CLUSTERDOWN Hash slot not served"), "is a cluster"),
        (exceptions.ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), "is a cluster"),
        (
            exceptions.ResponseError("MISCONF Errors writing to the AOF file"),
            "cannot save its data",
        ),
        (exceptions.ResponseError("ERR unknown command 'EVALSHA'"), "refuses a command"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_cause_is_named(error: Exception, says: str) -> None:
    outage = redis_unavailable(error)
    assert says in outage.detail
    assert type(error).__name__ in outage.cause
