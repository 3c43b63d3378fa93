"""What the relay's replies say about this process: the scope of each refusal, and the limits that it teaches."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from marketing_service.logs import LogThrottle
from marketing_service.ports import SubmissionOutcome
from marketing_service.replies import Scope
from marketing_service.sending.refusals import refusal_of

if TYPE_CHECKING:
    from marketing_service.ports import MailConnection, RelayDown, Submission
    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.replies import Reply

log = structlog.get_logger(__name__)

MAX_FRESH_REFUSALS = 2
"""So many connections in a row that the relay refused before their first accepted message show that it refuses us, and
not a connection that has done its share."""


class RelayFeedback:
    """Reads every submission of one process, for all its campaigns."""

    def __init__(self, capacity: RelayCapacity) -> None:
        self.unknown: Counter[tuple[str, int]] = Counter()
        """Replies that no rule knows, by phase and code."""
        self._capacity = capacity
        self._fresh_refusals = 0
        self._log_throttle = LogThrottle()

    def read(self, submission: Submission, connection: MailConnection, started: float | None = None) -> Scope | None:
        """What a refusal is about; None if the submission is not refused. A connection that has done its share is
        retired, and the limits for the relay follow. `started`: see RelayCapacity."""
        if submission.outcome is SubmissionOutcome.ACCEPTED:
            self._fresh_refusals = 0
            self._capacity.accepted(started)
        refusal = refusal_of(submission)
        if refusal is None or submission.reply is None:
            return None
        if not refusal.is_known:
            self.unknown[submission.phase, submission.reply.code] += 1
        scope = refusal.scope
        if scope is Scope.CONNECTION:
            scope = self._connection_refused(connection)
        if scope is Scope.RELAY:
            self._capacity.refused(started)
            self._log_limit(submission, submission.reply)
        return scope

    def log_down(self, down: RelayDown) -> None:
        """Log that no connection can be opened. A cause is logged once a minute, as is each limit of the relay."""
        code = None if down.reply is None else down.reply.code
        if self._log_throttle.allows((down.phase, code), time.monotonic()):
            log.warning("relay_down", phase=down.phase, error=down.detail)

    def _log_limit(self, submission: Submission, reply: Reply) -> None:
        if self._log_throttle.allows((submission.phase, reply.code, reply.enhanced_code), time.monotonic()):
            log.info(
                "relay_limits_sending",
                phase=submission.phase,
                relay=f"{reply.code} {reply.text}",
                connections=self._capacity.connections,
                rate=self._capacity.rate,
            )

    def _connection_refused(self, connection: MailConnection) -> Scope:
        is_fresh = not connection.accepted
        connection.retire()
        self._fresh_refusals = self._fresh_refusals + 1 if is_fresh else 0
        return Scope.RELAY if self._fresh_refusals >= MAX_FRESH_REFUSALS else Scope.CONNECTION
