"""When the pool may try to connect again after the relay refused a connection or ended a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.backoff import ExponentialBackoff
from marketing_service.ports import RelayDown
from marketing_service.replies import Phase, closes_connection

if TYPE_CHECKING:
    from marketing_service.replies import Reply

RELAY_BACKOFF = ExponentialBackoff(first=0.5, maximum=30.0)


class RelayBackoff:
    """Counts consecutive failures of the relay and computes the wait. All times are those of the event loop."""

    def __init__(self, backoff: ExponentialBackoff = RELAY_BACKOFF) -> None:
        self._backoff = backoff
        self._failures = 0
        self._failed_at = 0.0
        self._until = 0.0
        self._last = RelayDown(Phase.CONNECT, "")
        self.ended_with_421 = False
        """Whether the last failure was a 421: the relay ended a session, or refused a connection for now. It is up
        then, so it is worth waiting."""

    def remaining(self, now: float) -> float:
        """Seconds for which no connection may be opened."""
        return max(0.0, self._until - now)

    def last_failure(self) -> RelayDown:
        """A new exception that describes the last failure."""
        return RelayDown(self._last.phase, self._last.detail, self._last.reply)

    def attempt_failed(self, down: RelayDown, *, tried_at: float, now: float) -> None:
        """An attempt to connect, started at `tried_at`, failed.

        Attempts that started before the last failure are not counted: they failed for the same reason.
        """
        if tried_at >= self._failed_at:
            self._fail(down, now)
            self.ended_with_421 = down.reply is not None and closes_connection(down.reply)

    def attempt_succeeded(self, *, tried_at: float) -> None:
        """An attempt to connect, started at `tried_at`, succeeded: connections may be opened again.

        After a 421 the failures stay counted until a session has accepted a message (see `session_ended`).
        """
        if tried_at >= self._failed_at:
            self._until = 0.0
            if not self.ended_with_421:
                self._failures = 0

    def session_ended(self, reply: Reply, *, accepted_any: bool, now: float) -> None:
        """The relay ended a session with 421 (RFC 5321 §3.8). `accepted_any`: it accepted a message in this session.
        Then there is no wait."""
        if self.remaining(now) > 0:
            return
        if accepted_any:
            # Many relays end a session after some messages. The next connection is opened at once.
            self._failures = 0
            return
        # Only the codes are kept: the text of a reply can contain addresses.
        codes = " ".join(filter(None, (str(reply.code), reply.enhanced_code)))
        self._fail(RelayDown(Phase.MAIL, f"the relay ended the session ({codes})"), now)
        self.ended_with_421 = True

    def _fail(self, down: RelayDown, now: float) -> None:
        self._last = down
        self._failed_at = now
        self._failures += 1
        self._until = now + self._backoff.delay(self._failures)
