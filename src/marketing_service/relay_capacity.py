"""How much the relay takes from this process now: connections, and messages per second.

A relay that limits its clients says so in its replies. Each such reply lowers the limit at once (multiplicative
decrease); each accepted message raises it a little (additive increase), so sending finds what the relay allows and
recovers by itself. The state stays in the process: a process that starts learns it again from a few replies.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from marketing_service.backoff import ExponentialBackoff

if TYPE_CHECKING:
    from collections.abc import Callable

DECREASE_INTERVAL = 1.0
"""Seconds. Refusals that arrive within this time are one event: they were under way together."""
RATE_WINDOW = 10.0
"""Seconds over which the rate of accepted messages is measured."""
RATE_INCREASE = 0.1
"""Messages per second that each accepted message adds to the rate. So a rate doubles in about seven seconds."""
MESSAGES_PER_INCREASE = 10
"""One more connection is allowed after so many accepted messages for each connection that is allowed now."""
INCREASE_INTERVAL = 1.0
"""Seconds between a change of the connections and their next increase. A fast relay accepts the messages for several
increases before it can show that it allows no more."""
RATE_IS_FREE_AFTER = 120.0
"""Seconds without a refusal after which the rate is no longer limited."""
PROBE_REPLY_INTERVAL = 0.5
"""Seconds after which to ask again while a probe has no reply. Most replies come sooner than the next probe is due."""
_MIN_RATE = 0.2
_PROBE_BACKOFF = ExponentialBackoff(first=1.0, maximum=30.0)
"""The wait after a refusal, while no message is accepted in between."""
_RAISE_BACKOFF = ExponentialBackoff(first=30.0, maximum=600.0)
"""The wait before one more connection than the relay last allowed is tried. It grows with each refusal; after a success
the next step is twice as large."""


class Take(NamedTuple):
    """How many messages may be submitted now, and in how many seconds to ask again for the others."""

    granted: int
    wait: float


class RelayCapacity:
    """The limits that this process has learned. `max_connections` is the configured maximum.

    Connections: a connection that the relay refuses while others are open shows how many it allows; one more is tried
    after half a minute, then after longer. Any other refusal that is about us halves the connections; with one
    connection left, it halves the rate.
    """

    def __init__(self, max_connections: int, *, clock: Callable[[], float]) -> None:
        self.accepted_messages = 0
        """How many messages the relay has accepted from this process."""
        self.decreases = 0
        """How often the relay's refusals lowered a limit."""
        self._max = max_connections
        self._now = clock
        self._connections = max_connections
        self._connections_changed_at = 0.0
        self._accepted_since_change = 0
        self._ceiling: int | None = None
        """How many connections the relay allowed when it last refused one."""
        self._raise_at = 0.0
        self._raises_refused = 0
        self._raise_step = 1
        self._rate: float | None = None
        self._tokens = 1.0
        self._filled_at = 0.0
        self._accepted: deque[float] = deque()
        self._decreased_at: float | None = None
        self._refusals = 0
        """Decreases since the last accepted message."""
        self._rate_before = 0.0
        self._blocked_until = 0.0
        self._is_probing = False
        """Whether a probe was granted that has no reply yet."""
        self._refused_since: float | None = None

    # ── what is allowed ──

    @property
    def connections(self) -> int:
        """How many connections may be open."""
        limit = self._connections if self._ceiling is None else min(self._connections, self._ceiling)
        return max(1, min(limit, self._max))

    @property
    def rate(self) -> float | None:
        """Messages per second; None if the rate is not limited."""
        return self._rate

    @property
    def is_reduced(self) -> bool:
        """Whether less is allowed than configured."""
        return self.connections < self._max or self._rate is not None

    @property
    def stalled_for(self) -> float:
        """Seconds since the first of the refusals that no accepted message has followed; 0 if there is none."""
        return 0.0 if self._refused_since is None else self._now() - self._refused_since

    def take(self, wanted: int) -> Take:
        """Take up to `wanted` messages from the rate. After a refusal one message goes as a probe, and no other until
        it is accepted or the next wait is over."""
        now = self._now()
        if now < self._blocked_until:
            wait = self._blocked_until - now
            return Take(0, min(wait, PROBE_REPLY_INTERVAL) if self._is_probing else wait)
        if self._refusals:
            self._blocked_until = now + _PROBE_BACKOFF.delay(self._refusals + 1)
            self._is_probing = True
            return Take(min(wanted, 1), PROBE_REPLY_INTERVAL)
        if self._decreased_at is not None and now - self._decreased_at > RATE_IS_FREE_AFTER:
            self._rate = None
        if self._rate is None:
            return Take(wanted, 0.0)
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, max(1.0, self._rate))
        self._filled_at = now
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return Take(granted, 0.0 if granted == wanted else (1.0 - self._tokens % 1.0) / self._rate)

    # ── what the relay says ──

    def accepted(self, started: float | None = None) -> None:
        """The relay accepted a message that was started at this time (None: now)."""
        now = self._now()
        self.accepted_messages += 1
        self._accepted.append(now)
        while self._accepted and self._accepted[0] < now - RATE_WINDOW:
            self._accepted.popleft()
        self._refused_since = None
        if self._is_before_decrease(started):
            return  # it was under way already, and does not show that the relay takes as much now
        self._refusals = 0
        self._blocked_until = 0.0
        self._is_probing = False
        if self._rate is not None:
            self._rate += RATE_INCREASE
        if self._connections < self._max:
            self._allow_more_connections(now)
        if self._ceiling is not None and now >= self._raise_at:
            self._ceiling += self._raise_step
            self._raise_step *= 2
            self._raise_at = now + _RAISE_BACKOFF.first
            if self._ceiling >= self._max:
                self._ceiling = None
                self._raises_refused = 0

    def connection_refused(self, open_connections: int) -> None:
        """The relay refused to open one more connection while this many were open and in use."""
        now = self._now()
        self._ceiling = max(1, open_connections)
        self._raises_refused += 1
        self._raise_step = 1
        self._raise_at = now + _RAISE_BACKOFF.delay(self._raises_refused)

    def refused(self, started: float | None = None) -> None:
        """The relay refused a message, started at this time (None: now), for a reason that is about us: too fast, too
        many, or short of resources. Refusals of messages that were under way together are one event."""
        now = self._now()
        if self._refused_since is None:
            self._refused_since = now
        is_recent = self._decreased_at is not None and now - self._decreased_at < DECREASE_INTERVAL
        if is_recent or self._is_before_decrease(started):
            return
        if not self._refusals:
            self._rate_before = self._measured(now) if self._rate is None else self._rate
        self._decreased_at = now
        self.decreases += 1
        self._refusals += 1
        self._blocked_until = now + _PROBE_BACKOFF.delay(self._refusals)
        self._is_probing = False
        if self.connections > 1:
            self._set_connections(self.connections // 2, now)
            return
        self._rate_before /= 2
        self._rate = max(self._rate_before, _MIN_RATE)
        self._tokens, self._filled_at = 1.0, now

    def _allow_more_connections(self, now: float) -> None:
        self._accepted_since_change += 1
        is_earned = self._accepted_since_change >= self._connections * MESSAGES_PER_INCREASE
        if is_earned and now - self._connections_changed_at >= INCREASE_INTERVAL:
            self._set_connections(self._connections + 1, now)

    def _set_connections(self, connections: int, now: float) -> None:
        self._connections = connections
        self._connections_changed_at = now
        self._accepted_since_change = 0

    def _is_before_decrease(self, started: float | None) -> bool:
        return started is not None and self._decreased_at is not None and started < self._decreased_at

    def _measured(self, now: float) -> float:
        """Messages per second that were accepted lately."""
        lately = [at for at in self._accepted if at > now - RATE_WINDOW]
        return len(lately) / max(now - lately[0], 1.0) if lately else _MIN_RATE
