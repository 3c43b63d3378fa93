"""One claimed batch while it is being sent: which sends wait, which are in flight, and what each submission means."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from marketing_service.ledger.commit_results import SendResult
from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.ports import SubmissionOutcome
from marketing_service.rendering import TemplateTooCostly
from marketing_service.replies import Phase, Scope
from marketing_service.sending.refusals import refusal_of
from marketing_service.sending.throttle import backs_off_domain
from marketing_service.store.states import FailReason, SendStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from marketing_service.ledger.commit_results import MarkedSend
    from marketing_service.ports import Envelope, Submission
    from marketing_service.relay_capacity import RelayCapacity
    from marketing_service.rendering import NotRenderable
    from marketing_service.sending.retries import RetryPolicy
    from marketing_service.sending.throttle import DomainThrottle
    from marketing_service.store.batches import Claim, WaitingSend

MAX_RELAY_REFUSALS = 5
"""So many refusals of one send for reasons of the relay, each after it accepted others, show that they are about the
send."""
MAX_CONNECTION_REFUSALS = 20
"""The same for refusals that end a connection. A send can meet several connections that have reached their limit."""
MAX_STALLED_SECONDS = 300.0
"""A campaign is paused (RELAY_BUSY) if the relay has accepted nothing for so long. It is longer than the minute that
relays usually count messages in."""
MAX_SENDER_REFUSALS = 3
"""So many recipients in a row, with no message accepted, show that the relay refuses the sender."""


class EnvelopeSource(Protocol):
    """What a batch asks for the envelope of a marked send: an EnvelopeBuilder."""

    def build(self, marked: MarkedSend, *, eight_bit: bool) -> Envelope:
        """Raises NotRenderable."""
        ...


@dataclass(slots=True)
class _RelayRefusals:
    """How often the relay refused one send, after MAIL, for reasons of its own."""

    total: int = 0
    while_accepting: int = 0
    """Those since whose predecessor the relay accepted a message. While the relay refuses many, one send can be refused
    several times, so refusals that lower its limits only once count once, too."""
    _accepted_before: int = -1
    _decreases_before: int = -1

    def add(self, scope: Scope, capacity: RelayCapacity) -> None:
        """One more refusal; `capacity` has read it already."""
        self.total += 1
        is_new = scope is Scope.CONNECTION or capacity.decreases > self._decreases_before
        if is_new and capacity.accepted_messages > self._accepted_before:
            self.while_accepting += 1
            self._accepted_before = capacity.accepted_messages
            self._decreases_before = capacity.decreases


class ActiveBatch:
    """The sends of one claimed batch, and what becomes of each.

    A send is taken, and then exactly one of these follows: it is settled by a committed result, put back, or dropped.
    """

    def __init__(
        self,
        claim: Claim,
        waiting: Sequence[WaitingSend],
        *,
        envelopes: EnvelopeSource,
        retries: RetryPolicy,
        throttle: DomainThrottle,
        capacity: RelayCapacity,
    ) -> None:
        self.claim = claim
        self.pause_reason: PauseReason | None = None
        """Why the campaign must be paused; None if it must not."""
        self.pause_message: str | None = None
        """The relay's own words about it."""
        self.release_for: float | None = None
        """Seconds after which the batch is enqueued again, if the rate limiter does not allow more now."""
        self.had_connection = False
        """Whether there was a connection to the relay while the batch was active."""
        self.in_flight = 0
        """How many sends are taken and not yet settled, put back or dropped."""
        self._waiting = deque(waiting)
        self._waiting_last: deque[WaitingSend] = deque()
        self._sends = {send.id: send for send in waiting}
        self._left_out: set[UUID] = set()
        """Sends that a newer claim has."""
        self._postponed: dict[UUID, float] = {}
        self._started: dict[UUID, float] = {}
        self._envelopes = envelopes
        self._retries = retries
        self._throttle = throttle
        self._connection_losses: Counter[UUID] = Counter()
        self._accepted = 0
        self._capacity = capacity
        self._started_at = throttle.now()
        self._relay_refusals: dict[UUID, _RelayRefusals] = {}
        self._taken_last: set[UUID] = set()
        """Sends that the relay refused for reasons of its own. If the refusal is about one of them, the others do not
        wait behind it."""
        self._sender_refusals: set[UUID] = set()
        self._stopped = False
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def waiting(self) -> int:
        """How many sends may still be taken."""
        return 0 if self._stopped else len(self._waiting) + len(self._waiting_last)

    @property
    def is_stopped(self) -> bool:
        """Whether no more sends may be taken."""
        return self._stopped

    @property
    def postponed(self) -> dict[UUID, float]:
        """The sends that leave the batch because their domain backs off, each with the seconds until it is due."""
        now = self._throttle.now()
        return {send_id: max(0.0, due - now) for send_id, due in self._postponed.items()}

    @property
    def send_ids(self) -> AbstractSet[UUID]:
        """The sends of the batch, whatever became of them."""
        return self._sends.keys()

    def leave_out(self, send_ids: AbstractSet[UUID]) -> None:
        """Take none of these sends: a newer claim has them."""
        self._left_out |= send_ids & self._sends.keys()
        for queue in (self._waiting, self._waiting_last):
            kept = [send for send in queue if send.id not in self._left_out]
            queue.clear()
            queue.extend(kept)
        self._finish_if_done()

    def stop(self) -> None:
        """Take no more sends. Those in flight are finished; the others stay in the batch."""
        self._stopped = True
        self._finish_if_done()

    def fail(self, error: BaseException) -> None:
        """Make `finished` raise this error."""
        if not self._finished.done():
            self._finished.set_exception(error)

    async def finished(self) -> None:
        """Wait until nothing is in flight and nothing more is taken.

        Then `pause_reason` and `release_for` say what the sender must do.
        """
        await self._finished

    # ── which send is next ──

    def take(self, *, last: bool = False) -> WaitingSend | None:
        """The next send to mark; None if there is none. Sends whose domain backs off are postponed.

        `last`: of those that the relay has refused for reasons of its own. Without it, of all others.
        """
        queue = self._waiting_last if last else self._waiting
        while queue and not self._stopped:
            send = queue.popleft()
            if send.id in self._left_out:  # it was being marked when it was left out
                continue
            delay = self._throttle.delay_for(send.email)
            if delay is None:
                self.in_flight += 1
                return send
            self._postponed[send.id] = self._throttle.now() + delay
        self._finish_if_done()
        return None

    def put_back(self, send: WaitingSend) -> None:
        """The send could not be marked now: it waits again, first in line."""
        (self._waiting_last if send.id in self._taken_last else self._waiting).appendleft(send)
        self.drop()

    def drop(self) -> None:
        """The commit did not mark the send, so it is not submitted: opted out, cancelled, or claimed by another
        worker."""
        self.in_flight -= 1
        self._finish_if_done()

    def settle(self, send_id: UUID, *, waits_again: bool) -> None:
        """The result of the send is committed. If it waits again, it is the next one: on a new connection it comes
        first, before that connection can reach a limit of its own. If the relay refused it, it is the last one."""
        if waits_again:
            send = self._sends[send_id]
            if send_id in self._taken_last:
                self._waiting_last.append(send)
            else:
                self._waiting.appendleft(send)
        self.drop()

    def _finish_if_done(self) -> None:
        if not self.in_flight and not self.waiting and not self._finished.done():
            self._finished.set_result(None)

    # ── what becomes of a marked send ──

    def prepare(self, marked: MarkedSend, *, eight_bit: bool) -> Envelope:
        """The envelope of a marked send, for a connection that takes 8-bit content or does not. Raises
        NotRenderable."""
        self._started[marked.send.id] = self._throttle.now()
        return self._envelopes.build(marked, eight_bit=eight_bit)

    def not_started(self, marked: MarkedSend) -> SendResult:
        """The result of a marked send of which nothing was written to a socket."""
        return SendResult(self.claim, marked.send.id, marked.attempt, SendStatus.QUEUED)

    def unmailable(self, marked: MarkedSend, error: NotRenderable) -> SendResult:
        """The result of a marked send for which no message can be made."""
        return SendResult(
            self.claim,
            marked.send.id,
            marked.attempt,
            SendStatus.FAILED,
            reason=FailReason.TEMPLATE_TOO_COSTLY
            if isinstance(error, TemplateTooCostly)
            else FailReason.MALFORMED_ADDRESS,
            message=str(error),
        )

    def result(self, marked: MarkedSend, submission: Submission, scope: Scope | None = None) -> SendResult:
        """What a submission means for its send, for the batch and for the receiving domain. `scope`: what its refusal
        is about; None if it is not refused. Only a refusal that is about the recipient or its domain uses up a try."""
        match scope:
            case Scope.SENDER:
                return self._sender_refused(marked, submission)
            case Scope.ACCOUNT:
                return self._pause(PauseReason.RELAY_QUOTA, marked, submission)
            case Scope.MESSAGE:
                return self._pause(PauseReason.MESSAGE_TOO_LARGE, marked, submission)
            case Scope.RELAY | Scope.CONNECTION:
                self._tell_throttle(marked, submission)
                return self._postponed_by_relay(marked, submission, scope)
        if submission.outcome is SubmissionOutcome.LOST:
            self._connection_losses[marked.send.id] += 1
        elif submission.outcome is SubmissionOutcome.ACCEPTED:
            self._accepted += 1
        self._tell_throttle(marked, submission)
        return self._retries.result(marked, submission, losses=self._connection_losses[marked.send.id])

    def _postponed_by_relay(self, marked: MarkedSend, submission: Submission, scope: Scope) -> SendResult:
        """The relay takes nothing, or no more on this connection: the send waits again, and no try is used up.

        If the relay refuses the same send again and again while it accepts others, the refusal is about that send. If
        it accepts nothing at all, the campaign pauses; a send that was refused as often then uses up a try. So a
        campaign ends even if its last send is one that the relay never accepts.
        """
        send_id = marked.send.id
        refusals = self._relay_refusals.setdefault(send_id, _RelayRefusals())
        if submission.phase is not Phase.MAIL:
            refusals.add(scope, self._capacity)
        limit = MAX_RELAY_REFUSALS if scope is Scope.RELAY else MAX_CONNECTION_REFUSALS
        if refusals.while_accepting >= limit:
            return self._retries.deferred(marked, submission)
        if scope is Scope.RELAY:
            self._taken_last.add(send_id)
            if self._stalled_for > MAX_STALLED_SECONDS:
                result = self._pause(PauseReason.RELAY_BUSY, marked, submission)
                return self._retries.deferred(marked, submission) if refusals.total >= limit else result
        return self._retries.requeued(marked, submission)

    @property
    def _stalled_for(self) -> float:
        """Seconds since this batch could last have seen the relay accept a message."""
        return min(self._capacity.stalled_for, self._throttle.now() - self._started_at)

    def _pause(self, reason: PauseReason, marked: MarkedSend, submission: Submission) -> SendResult:
        self.pause(reason, None if submission.reply is None else submission.reply.text)
        return self._retries.requeued(marked, submission)

    def pause(self, reason: PauseReason, message: str | None) -> None:
        """Take no more sends, and have the campaign paused. `message`: the relay's own words."""
        if self.pause_reason is None:
            self.pause_reason, self.pause_message = reason, message
        self.stop()

    def _tell_throttle(self, marked: MarkedSend, submission: Submission) -> None:
        started = self._started.get(marked.send.id, 0.0)
        if submission.outcome is SubmissionOutcome.ACCEPTED:
            self._throttle.accepted(marked.send.email, started=started)
        elif backs_off_domain(submission):
            self._throttle.deferred(marked.send.email, started=started)

    def _sender_refused(self, marked: MarkedSend, submission: Submission) -> SendResult:
        """The relay refuses the sender, not the recipient.

        At MAIL this is certain. In a later phase the relay may pass on what one recipient's server says. So other
        recipients are tried first: if the relay accepts a message for one of them, the refusal is about this recipient.
        """
        if submission.phase is not Phase.MAIL and self._accepted:
            return self._retries.result(marked, submission, losses=0)
        is_alone = marked.send.id in self._sender_refusals
        self._sender_refusals.add(marked.send.id)
        if submission.phase is Phase.MAIL or is_alone or len(self._sender_refusals) >= MAX_SENDER_REFUSALS:
            return self._pause(_sender_reason(submission), marked, submission)
        return self._retries.requeued(marked, submission)


def _sender_reason(submission: Submission) -> PauseReason:
    refusal = refusal_of(submission)
    is_login = refusal is not None and refusal.is_login
    return PauseReason.RELAY_LOGIN_REFUSED if is_login else PauseReason.RELAY_REFUSES_SENDER
