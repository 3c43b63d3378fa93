"""Receiving domains that want less mail from us: each is rested by itself, and nobody else waits for it.

Kept in the process. What waits is in the ledger; this is only what the relay's last answers suggest, a process
that starts learns it from as many answers, and nothing has to be agreed upon or kept.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marketing_service.ports import SubmissionOutcome
from marketing_service.replies import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.ports import Submission

IN_A_ROW = 5
"""So many put off, and none taken in between, say that it is the domain: one mailbox may be full, one greylisted."""
_LONGEST = 60
"""How many first rests the longest is."""
_SPREAD = 64
"""Into how many parts those held back are spread, so that they do not all come back at once."""
_KEPT = 10_000


def asks_for_less(submission: Submission) -> bool:
    """Whether a refusal speaks of the receiving system, and not of one mailbox (RFC 3463 §3.2 and §3.3) or of us."""
    reply = submission.reply
    return (
        submission.outcome is SubmissionOutcome.REFUSED
        and reply is not None
        and (reply.code == 421 or reply.code // 10 == 45)  # noqa: PLR2004 - RFC 5321 §4.2.3: try later, closing
        and submission.phase in (Phase.RCPT, Phase.DATA, Phase.DOT)
        and not (reply.enhanced_code or "").startswith(("4.1.", "4.2."))
    )


@dataclass(slots=True)
class _Domain:
    in_a_row: int = 0
    rests: int = 0
    """How many steps up the last rest was; each message taken is a step down, and at 0 the domain is forgotten."""
    rest: float = 0.0
    began: float = 0.0
    until: float = 0.0
    """While a rest lasts and until its probe is answered; 0 where mail goes out."""
    held: int = 0


class DomainThrottle:
    """Which domains rest, and how long: `first_backoff` seconds, then twice that each time, up to sixty times.

    After a rest one message goes as a probe. Is it taken, the rest of them follow; is it put off, the next rest
    begins. An answer counts only if its message went after the last rest began.
    """

    def __init__(self, *, first_backoff: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.now = clock
        self._first_backoff = first_backoff
        self._domains: OrderedDict[str, _Domain] = OrderedDict()

    def postpone_sends(self, email: str) -> float | None:
        """For how many seconds a message to this address is to wait; None where it may go now."""
        if not self._domains:
            return None
        domain = self._domains.get(_name(email))
        if domain is None or not domain.until:
            return None
        now = self.now()
        if now >= domain.until:
            # Should the probe's answer never be known, the next one goes after so long.
            domain.until = now + self._first_backoff
            return None
        domain.held += 1
        return domain.until - now + domain.rest * (domain.held % _SPREAD) / _SPREAD

    def taken(self, email: str, *, begun: float) -> None:
        """A message to this address, begun at `begun`, was accepted."""
        if not self._domains:
            return
        name = _name(email)
        domain = self._domains.get(name)
        if domain is None or begun < domain.began:
            return
        domain.until = 0.0
        domain.in_a_row = 0
        domain.rests -= 1
        if domain.rests <= 0:
            del self._domains[name]

    def postponed(self, email: str, *, begun: float) -> float | None:
        """The domain asked for less, in answer to a message begun at `begun`. Returns the seconds it rests, if a
        rest begins with this."""
        name = _name(email)
        domain = self._domains.setdefault(name, _Domain())
        self._domains.move_to_end(name)
        if len(self._domains) > _KEPT:
            self._domains.popitem(last=False)
        if begun < domain.began:
            return None
        domain.in_a_row += 1
        if not domain.until and domain.in_a_row < IN_A_ROW:
            return None
        domain.rest = self._first_backoff * min(2**domain.rests, _LONGEST)
        domain.began = self.now()
        domain.until = domain.began + domain.rest
        domain.in_a_row = domain.held = 0
        domain.rests = min(domain.rests + 1, _LONGEST.bit_length())
        return domain.rest


def _name(email: str) -> str:
    return email.rpartition("@")[2].strip().lower()
