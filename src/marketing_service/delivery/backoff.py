"""How long the relay is left alone after it would not have us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.ports import RelayDown
from marketing_service.replies import Phase

if TYPE_CHECKING:
    from marketing_service.replies import Reply

_FIRST_SECONDS = 0.5
_MAX_SECONDS = 30.0


class Backoff:
    """Doubles from half a second to half a minute. All times are the event loop's."""

    def __init__(self) -> None:
        self._failures = 0
        self._began = 0.0
        self._until = 0.0
        self._down = RelayDown(Phase.CONNECT, "")
        self.is_dismissal = False
        """Whether the relay is there, and has but ended a conversation: worth waiting for."""

    def remaining(self, now: float) -> float:
        """For how many seconds no connection is to be opened."""
        return max(0.0, self._until - now)

    def down(self) -> RelayDown:
        """The last failure, to be raised for somebody else too."""
        return RelayDown(self._down.phase, self._down.detail)

    def refused(self, down: RelayDown, *, tried_at: float, now: float) -> None:
        """An attempt begun at `tried_at` came to nothing; those under way since before the last failure say no more."""
        if tried_at >= self._began:
            self._fail(down, now)
            self.is_dismissal = False

    def dismissed(self, reply: Reply, *, useful: bool, now: float) -> None:
        """The relay ended a conversation with 421 (RFC 5321 §3.8), a useful one if it had taken a message in it."""
        if self.remaining(now) > 0:
            return
        if useful:
            self._failures = 0
        codes = " ".join(filter(None, (str(reply.code), reply.enhanced_code)))
        self._fail(RelayDown(Phase.MAIL, f"the relay ended the conversation ({codes})"), now)
        self.is_dismissal = True

    def opened(self, *, tried_at: float) -> None:
        """An attempt begun at `tried_at` succeeded. After a 421, only a useful conversation starts the growth anew."""
        if tried_at >= self._began:
            self._until = 0.0
            if not self.is_dismissal:
                self._failures = 0

    def _fail(self, down: RelayDown, now: float) -> None:
        self._down = down
        self._began = now
        self._until = now + min(_FIRST_SECONDS * 2**self._failures, _MAX_SECONDS)
        self._failures += 1
