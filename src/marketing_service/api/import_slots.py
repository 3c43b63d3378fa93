"""How many files one API process receives and reads at a time. Each of them is in memory as a whole."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from marketing_service.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 4
MAX_FILES_OF_ORGANISATION = 2
_RETRY_SECONDS = 5


class ImportSlots:
    """The files that one process is receiving, by organisation."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()

    @contextmanager
    def hold(self, org_id: str) -> Iterator[None]:
        """Hold a slot while the block runs. Raises RateLimited if none is free."""
        if self._files[org_id] >= MAX_FILES_OF_ORGANISATION or self._files.total() >= MAX_FILES:
            raise RateLimited(
                f"Other files are being received. Send this one again in {_RETRY_SECONDS} s.", _RETRY_SECONDS
            )
        self._files[org_id] += 1
        try:
            yield
        finally:
            self._files[org_id] -= 1
            if not self._files[org_id]:
                del self._files[org_id]
