"""When to stop reading an audience: the limits of a list that does not end, and a way to give up a slot."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

MAX_CONTACTS = 20_000_000
"""Contacts in one audience. A list that has more is taken for one that does not end."""

MustYield: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether a reader must stop after this page, because somebody else waits for its slot."""


async def never() -> bool:
    """A MustYield of a reader that shares its slot with nobody."""
    return False


class AudienceEndless(Exception):
    """The source goes on with pages beyond every limit. The message is a sentence for the user."""


class ReadingLimit:
    """The limits of one attempt to read an audience: `seconds` from now, and `contacts`."""

    def __init__(self, *, seconds: float, contacts: int = MAX_CONTACTS) -> None:
        self._seconds = seconds
        self._contacts = contacts
        self._started = time.monotonic()

    def check(self, contacts: int) -> None:
        """Call it after each page, with the number of contacts so far. Raises AudienceEndless."""
        if contacts > self._contacts:
            raise AudienceEndless(f"The CRM's list of contacts does not end: it has more than {self._contacts:,}.")
        if time.monotonic() - self._started > self._seconds:
            raise AudienceEndless(
                f"The CRM's list of contacts did not end within {self._seconds / 60:.0f} minutes: "
                f"it had {contacts:,} contacts by then."
            )
