"""One connection to the relay while the dispatcher uses it, with the marked sends that are assigned to it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marketing_service.ledger.commit_results import MarkedSend
    from marketing_service.ports import Envelope, MailConnection, Mailer

MAX_SENDS_PER_SESSION = 10
"""Sends a session takes before it returns its connection, if another campaign waits for one."""


class ConnectionSession:
    """A borrowed connection and its queue.

    The commit loop adds to `assigned`. The session's own task moves sends from `assigned` to `prepared` and submits
    the first of `prepared`.
    """

    def __init__(self, connection: MailConnection, mailer: Mailer) -> None:
        self.connection = connection
        self.assigned: deque[MarkedSend] = deque()
        self.prepared: deque[tuple[MarkedSend, Envelope]] = deque()
        """Sends with an envelope. The first is being submitted or is next; the second is announced behind it."""
        self.started_at = 0.0
        """When the submission under way was started, by the clock of the event loop."""
        self._mailer = mailer
        self._sends_left = MAX_SENDS_PER_SESSION
        self._wake_up: asyncio.Future[None] | None = None

    @property
    def takes_more(self) -> bool:
        """Whether the session may be assigned another send."""
        return self.takes_more_if(is_waited_for=self._mailer.is_waited_for)

    def takes_more_if(self, *, is_waited_for: bool) -> bool:
        """As `takes_more`, for a caller that knows whether another campaign waits for a connection."""
        return self.connection.usable and (self._sends_left > 0 or not is_waited_for)

    @property
    def load(self) -> int:
        """How many marked sends the session has."""
        return len(self.assigned) + len(self.prepared)

    @property
    def is_idle(self) -> bool:
        """Whether the session's task waits to be woken."""
        return self._wake_up is not None

    def assign(self, marked: MarkedSend) -> None:
        """Add a marked send to the session's queue."""
        self.assigned.append(marked)
        self._sends_left -= 1

    async def wait(self) -> None:
        """Wait until `wake` is called."""
        self._wake_up = asyncio.get_running_loop().create_future()
        try:
            await self._wake_up
        finally:
            self._wake_up = None

    def wake(self) -> None:
        """Let `wait` return."""
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)
