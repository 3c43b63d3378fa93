"""Back-off for each receiving domain that asks for less mail; other domains do not wait.

The state stays in the process. The ledger keeps what waits; this keeps only what the relay's last replies suggest. A
process that starts learns it again from as many replies, so nothing has to be stored or shared.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from marketing_service.addresses import receiving_domain
from marketing_service.backoff import ExponentialBackoff
from marketing_service.logs import LogThrottle
from marketing_service.sending.refusals import refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.ports import Submission

log = structlog.get_logger(__name__)

MAX_CONSECUTIVE_DEFERRALS = 5
"""So many deferrals, with no message accepted in between, show that the domain asks for less mail. Fewer may be about
one full or greylisted mailbox."""
_MAX_FACTOR = 60
"""The longest back-off, as a multiple of the first one."""
_SPREAD = 64
"""Postponed sends of a domain become due at this many different times, so that they do not all return at once."""
_MAX_DOMAINS = 10_000
"""How many domains are kept; beyond this the one that was deferred longest ago is forgotten."""


def backs_off_domain(submission: Submission) -> bool:
    """Whether a refusal is about the receiving system, not about one mailbox or the sender (see replies/rules.py)."""
    refusal = refusal_of(submission)
    return refusal is not None and refusal.backs_off_domain


@dataclass(slots=True)
class _Domain:
    deferrals: int = 0
    """Consecutive deferrals."""
    level: int = 0
    """How many back-offs followed each other. Each accepted message lowers it; at 0 the domain is forgotten."""
    backoff: float = 0.0
    started: float = 0.0
    until: float = 0.0
    """The end of the back-off. It stays set until the probe's reply is known; 0 if mail goes out."""
    postponed: int = 0


class DomainThrottle:
    """Which domains back off, and for how long: `first_backoff` seconds, doubled each time, up to sixty times that.

    After a back-off one message goes as a probe. If it is accepted, the others follow. If it is deferred, the next
    back-off starts. A reply counts only if its message started after the last back-off started.
    """

    def __init__(self, *, first_backoff: float, clock: Callable[[], float] | None = None) -> None:
        """`clock`: seconds from any start; the event loop's clock if None."""
        self._clock = clock
        self._first_backoff = first_backoff
        self._backoff = ExponentialBackoff(first=first_backoff, maximum=first_backoff * _MAX_FACTOR)
        self._domains: OrderedDict[str, _Domain] = OrderedDict()
        self._log_throttle = LogThrottle()

    def now(self) -> float:
        """The time by which back-offs are measured, in seconds."""
        if self._clock is None:
            self._clock = asyncio.get_running_loop().time
        return self._clock()

    @property
    def domains_kept(self) -> int:
        """How many domains have deferrals that count."""
        return len(self._domains)

    def delay_for(self, email: str) -> float | None:
        """Seconds that a message to this address must wait; None if it may go now."""
        if not self._domains:
            return None
        domain = self._domains.get(receiving_domain(email))
        if domain is None or not domain.until:
            return None
        now = self.now()
        if now >= domain.until:
            # This message is the probe. If its reply never becomes known, the next probe goes after the first back-off.
            domain.until = now + self._first_backoff
            return None
        domain.postponed += 1
        return domain.until - now + domain.backoff * (domain.postponed % _SPREAD) / _SPREAD

    def accepted(self, email: str, *, started: float) -> None:
        """A message to this address, started at `started`, was accepted."""
        if not self._domains:
            return
        name = receiving_domain(email)
        domain = self._domains.get(name)
        if domain is None or started < domain.started:
            return
        domain.until = 0.0
        domain.deferrals = 0
        domain.level -= 1
        if domain.level <= 0:
            del self._domains[name]

    def deferred(self, email: str, *, started: float) -> float | None:
        """The domain asked for less, in reply to a message started at `started`. Returns the length of the back-off
        in seconds, if one starts now."""
        name = receiving_domain(email)
        domain = self._domains.setdefault(name, _Domain())
        self._domains.move_to_end(name)
        if len(self._domains) > _MAX_DOMAINS:
            self._domains.popitem(last=False)
        if started < domain.started:
            return None
        domain.deferrals += 1
        if not domain.until and domain.deferrals < MAX_CONSECUTIVE_DEFERRALS:
            return None
        domain.backoff = self._backoff.delay(domain.level + 1)
        domain.started = self.now()
        domain.until = domain.started + domain.backoff
        domain.deferrals = domain.postponed = 0
        domain.level = min(domain.level + 1, _MAX_FACTOR.bit_length())
        if self._log_throttle.allows(None, domain.started):
            waiting = sum(bool(other.until) for other in self._domains.values())
            log.info("domain_backs_off", seconds=domain.backoff, domains=waiting)
        return domain.backoff
