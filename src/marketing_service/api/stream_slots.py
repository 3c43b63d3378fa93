"""How many event streams one API process keeps open."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketing_service.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_STREAMS = 1_000
MAX_STREAMS_OF_USER = 50
"""For each user: organisation and `sub`."""
_RETRY_SECONDS = 10


class StreamSlots:
    """The open streams of one process, by user."""

    def __init__(self, most: int = MAX_STREAMS, most_of_user: int = MAX_STREAMS_OF_USER) -> None:
        self._most = most
        self._most_of_user = most_of_user
        self._streams: Counter[tuple[str, str]] = Counter()

    @property
    def open(self) -> int:
        """The number of open streams."""
        return self._streams.total()

    @contextmanager
    def hold(self, org_id: str, subject: str) -> Iterator[None]:
        """Hold a slot while the block runs. Raises RateLimited if this user has none left, and Unavailable if the
        process has none left."""
        user = (org_id, subject)
        if self._streams[user] >= self._most_of_user:
            raise RateLimited(
                f"This user has {self._most_of_user:,} open event streams. Close one of them, or read the stats"
                " instead.",
                _RETRY_SECONDS,
            )
        if self.open >= self._most:
            raise Unavailable(
                "The service",
                f"The service has too many open event streams. Read the stats instead, or try again in"
                f" {_RETRY_SECONDS} s.",
                _RETRY_SECONDS,
            )
        self._streams[user] += 1
        try:
            yield
        finally:
            self._streams[user] -= 1
            if not self._streams[user]:
                del self._streams[user]
