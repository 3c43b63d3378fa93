"""One claimed batch while it is being sent: what waits, what is with the lanes, and what the answers mean."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

import structlog

from marketing_service.addresses import is_deliverable
from marketing_service.ledger.commit_results import Result
from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.ports import Envelope, SubmissionOutcome
from marketing_service.rendering import MergeFields, NotRenderable, Personal, ascii_address
from marketing_service.replies import Phase
from marketing_service.sending.retries import Decision
from marketing_service.sending.throttle import asks_for_less
from marketing_service.store.states import FailReason, SendStatus
from marketing_service.tokens import Purpose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from marketing_service.ledger.batches import Claim, WaitingSend
    from marketing_service.ledger.commit_results import Marked
    from marketing_service.ports import Submission
    from marketing_service.rendering import CompiledMessage
    from marketing_service.sending.retries import RetryPolicy
    from marketing_service.sending.throttle import DomainThrottle
    from marketing_service.tokens import BounceAddresses, TokenKeyring

log = structlog.get_logger(__name__)

_REFUSALS = 3
"""So many recipients in a row, and nobody accepted, say that the relay refuses us."""


class Ready(NamedTuple):
    """A marked send with its envelope."""

    run: BatchRun
    send: WaitingSend
    marked: Marked
    envelope: Envelope
    begun: float


class BatchRun:
    """What is due of one claimed batch, and what becomes of each of its sends; the lanes do the rest."""

    def __init__(
        self,
        claim: Claim,
        waiting: Sequence[WaitingSend],
        *,
        message: CompiledMessage,
        tokens: TokenKeyring,
        bounces: BounceAddresses | None,
        retries: RetryPolicy,
        domains: DomainThrottle,
    ) -> None:
        self.claim = claim
        self.hold: PauseReason | None = None
        """Why the campaign is to be held, where it is."""
        self.rest: float | None = None
        """For how many seconds the batch is to be left alone, where the rates do not allow more."""
        self.was_connected = False
        """Whether a connection to the relay was had while it ran."""
        self._due: dict[UUID, float] = {}
        self._waiting = deque(waiting)
        self._sends = {send.id: send for send in waiting}
        self._taken = 0
        """Sends that are with a lane."""
        self._message = message
        self._tokens = tokens
        self._bounces = bounces
        self._retries = retries
        self._domains = domains
        self._losses: Counter[UUID] = Counter()
        self._relay_takes_us = False
        self._refusals: set[UUID] = set()
        self._stopped = False
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def waiting(self) -> int:
        """How many sends a lane could still take."""
        return 0 if self._stopped else len(self._waiting)

    @property
    def postponed(self) -> dict[UUID, float]:
        """The sends that are to wait for their domain, outside of the batch, and for how many seconds from now."""
        now = self._domains.now()
        return {send_id: max(0.0, due - now) for send_id, due in self._due.items()}

    def stop(self) -> None:
        """Mark no more: what is marked is finished and recorded, the rest stays in the batch."""
        self._stopped = True
        self._finish()

    def fail(self, error: BaseException) -> None:
        """Have whoever waits for the end get this error."""
        if not self._finished.done():
            self._finished.set_exception(error)

    async def finished(self) -> None:
        """Wait until no lane has anything of it, and nothing more is to be taken.

        Afterwards `hold` says whether, and why, the campaign is to be held, and `rest` for how long the batch.
        """
        await self._finished

    # ── for the lanes: each send that is taken is either settled, put back, or passed over ──

    def take(self) -> WaitingSend | None:
        """The next send that is to be marked, if there is one."""
        while self.waiting:
            send = self._waiting.popleft()
            delay = self._domains.postpone_sends(send.email)
            if delay is None:
                self._taken += 1
                return send
            self._due[send.id] = self._domains.now() + delay
        self._finish()
        return None

    def put_back(self, send: WaitingSend) -> None:
        """It could not be marked now."""
        self._waiting.appendleft(send)
        self.passed_over()

    def passed_over(self) -> None:
        """It is not to be handed over after all."""
        self._taken -= 1
        self._finish()

    def settled(self, result: Result) -> None:
        """The result is committed. What was not handed over, and is recorded so, waits here again."""
        if result.status is SendStatus.QUEUED:
            self._waiting.append(self._sends[result.send_id])
        self.passed_over()

    def _finish(self) -> None:
        if not self._taken and not self.waiting and not self._finished.done():
            self._finished.set_result(None)

    # ── what becomes of a marked send ──

    def ready(self, send: WaitingSend, marked: Marked, *, eight_bit: bool) -> Ready:
        """Raises NotRenderable."""
        return Ready(self, send, marked, self._envelope(send, marked, eight_bit=eight_bit), self._domains.now())

    def not_begun(self, send: WaitingSend, marked: Marked) -> Result:
        return Result(self.claim, send.id, marked.attempt, SendStatus.QUEUED)

    def unmailable(self, send: WaitingSend, marked: Marked, error: NotRenderable) -> Result:
        return Result(
            self.claim,
            send.id,
            marked.attempt,
            SendStatus.FAILED,
            reason=FailReason.MALFORMED_ADDRESS,
            message=str(error),
        )

    def _envelope(self, send: WaitingSend, marked: Marked, *, eight_bit: bool) -> Envelope:
        email = send.email.strip()
        if not is_deliverable(email):
            raise NotRenderable("No mail can go to this address.")
        personal = Personal(
            send_id=send.id,
            fields=MergeFields(email, send.first_name, send.last_name, send.company_name),
            date=marked.first_marked_at,
            unsubscribe_token=self._tokens.issue(Purpose.UNSUBSCRIBE, send.id),
            open_token=self._tokens.issue(Purpose.OPEN, send.id),
            click_token=self._tokens.issue(Purpose.CLICK, send.id) if self._message.links else None,
        )
        return Envelope(
            self._message.from_address if self._bounces is None else self._bounces.of(send.id, marked.attempt),
            ascii_address(email),
            self._message.render(personal, eight_bit=eight_bit),
        )

    def result(self, ready: Ready, submission: Submission) -> Result:
        if submission.outcome is SubmissionOutcome.LOST:
            self._losses[ready.send.id] += 1
        decision = self._retries.decide(submission, tries=ready.marked.tries, losses=self._losses[ready.send.id])
        accepted = submission.outcome is SubmissionOutcome.ACCEPTED
        self._relay_takes_us |= accepted
        if decision.refuses_us:
            decision = self._refused_us(ready.send, submission.phase)
        elif accepted:
            self._domains.taken(ready.send.email, begun=ready.begun)
        elif asks_for_less(submission):
            self._rest_domain(ready)
        reply = None if accepted else submission.reply
        return Result(
            self.claim,
            ready.send.id,
            ready.marked.attempt,
            decision.status,
            reason=decision.reason,
            smtp_code=reply.code if reply else None,
            enhanced_code=reply.enhanced_code if reply else None,
            message=reply.text if reply else submission.detail,
            delay=decision.delay,
        )

    def _rest_domain(self, ready: Ready) -> None:
        seconds = self._domains.postponed(ready.send.email, begun=ready.begun)
        if seconds is not None:
            log.info("domain_backs_off", seconds=seconds)

    def _refused_us(self, send: WaitingSend, phase: Phase) -> Decision:
        """The relay says it is us, not the recipient. At MAIL that is so. Later it may only be passing on what one
        recipient's server says, so others are asked first: does it take a message of ours, it is that recipient."""
        if phase is not Phase.MAIL and self._relay_takes_us:
            return Decision(SendStatus.FAILED, FailReason.REJECTED)
        nobody_else_left = send.id in self._refusals
        self._refusals.add(send.id)
        if phase is Phase.MAIL or nobody_else_left or len(self._refusals) >= _REFUSALS:
            self.hold = PauseReason.RELAY_REFUSES_SENDER
            self.stop()
        return Decision(SendStatus.QUEUED)
