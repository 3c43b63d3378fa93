"""Parts of the engine for tests without servers: sends, submissions, a scripted connection, a ledger in memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from marketing_service.ledger.commit_results import CommitResult, MarkedSend
from marketing_service.ports import Allowance, Envelope, RelayDown, SizeLimit, Submission, SubmissionOutcome
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.rendering import NotRenderable
from marketing_service.replies import Phase, Reply
from marketing_service.sending.batch import ActiveBatch
from marketing_service.sending.retries import RetryPolicy
from marketing_service.sending.throttle import DomainThrottle
from marketing_service.store.batches import Claim, WaitingSend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from marketing_service.ledger.commit_results import SendResult
    from marketing_service.ports import MailConnection
    from marketing_service.store.states import SendStatus

CAMPAIGN = UUID(int=1)
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ACCEPTED = Submission(SubmissionOutcome.ACCEPTED, Phase.DOT)
LOST = Submission(SubmissionOutcome.LOST, Phase.RCPT, detail="the connection was lost")
UNKNOWN = Submission(SubmissionOutcome.UNKNOWN, Phase.DOT, detail="the connection was lost")
NOT_BEGUN = Submission(SubmissionOutcome.NOT_BEGUN, Phase.MAIL, detail="the connection is used up")


def refused(code: int, text: str, phase: Phase = Phase.RCPT) -> Submission:
    """A submission that the relay refused with this reply."""
    return Submission(SubmissionOutcome.REFUSED, phase, Reply.of(code, text))


def claim(number: int = 0, epoch: int = 1) -> Claim:
    return Claim("acme", CAMPAIGN, number, epoch)


def waiting(number: int, email: str | None = None) -> WaitingSend:
    return WaitingSend(UUID(int=1000 + number), email or f"person{number}@example.com", None, None, None)


def marked(send: WaitingSend, of: Claim | None = None, *, attempt: int = 1, tries: int = 1) -> MarkedSend:
    return MarkedSend(of or claim(), send, attempt, tries, NOW)


class Envelopes:
    """Builds envelopes without a template. The address `malformed@example.com` cannot be mailed."""

    def build(self, marked: MarkedSend, *, eight_bit: bool) -> Envelope:
        if marked.send.email.startswith("malformed@"):
            raise NotRenderable("No mail can go to this address.")
        return Envelope("news@example.com", marked.send.email, b"8" if eight_bit else b"7")


def active_batch(
    *sends: WaitingSend,
    number: int = 0,
    epoch: int = 1,
    delays: Sequence[float] = (60.0, 300.0),
    throttle: DomainThrottle | None = None,
    capacity: RelayCapacity | None = None,
) -> ActiveBatch:
    return ActiveBatch(
        claim(number, epoch),
        sends,
        envelopes=Envelopes(),
        retries=RetryPolicy(delays),
        throttle=throttle or DomainThrottle(first_backoff=10.0),
        capacity=capacity or RelayCapacity(20, clock=time.monotonic),
    )


@dataclass
class ScriptedConnection:
    """A connection whose relay replies as `script` says; it is usable for `messages` envelopes."""

    script: Callable[[Envelope], Submission]
    messages: int = 1000
    eight_bit: bool = True
    accepted: int = 0
    log: list[str] = field(default_factory=list)
    announced: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        return self.messages > 0

    async def submit(self, envelope: Envelope) -> Submission:
        if not self.usable:
            return NOT_BEGUN
        self.messages -= 1
        self.log.append(envelope.recipient)
        await asyncio.sleep(0)
        submission = self.script(envelope)
        self.accepted += submission.outcome is SubmissionOutcome.ACCEPTED
        if submission.outcome in (SubmissionOutcome.LOST, SubmissionOutcome.UNKNOWN):
            self.messages = 0
        return submission

    def retire(self) -> None:
        self.messages = 0

    def announce(self, envelope: Envelope) -> None:
        self.announced.append(envelope.recipient)


@dataclass
class ScriptedMailer:
    """Opens scripted connections; `down` makes every further one fail."""

    open_one: Callable[[], ScriptedConnection]
    down: RelayDown | None = None
    is_waited_for: bool = False
    connections: list[ScriptedConnection] = field(default_factory=list)
    capacity: RelayCapacity = field(
        default_factory=lambda: RelayCapacity(20, clock=lambda: asyncio.get_running_loop().time())
    )

    @property
    def connections_open(self) -> int:
        return len(self.connections)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[MailConnection]:
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down
        connection = self.open_one()
        self.connections.append(connection)
        yield connection

    async def probe(self, sender: str | None = None) -> Reply | None:
        assert sender != ""
        if self.down is not None:
            raise self.down
        return None

    async def message_size_limit(self) -> SizeLimit:
        return SizeLimit(None, eight_bit=True)


@dataclass
class MemoryCommitter:
    """A committer that records in memory. `skip` holds the sends that no commit marks."""

    allowances: deque[Allowance] = field(default_factory=deque)
    may_mark: bool = True
    skip: set[UUID] = field(default_factory=set)
    tries: dict[UUID, int] = field(default_factory=dict)
    results: list[SendResult] = field(default_factory=list)
    in_flight: set[UUID] = field(default_factory=set)
    max_in_flight: int = 0
    commits: int = 0
    fails: Exception | None = None

    async def allowance(self, to_mark: Sequence[tuple[Claim, WaitingSend]]) -> Allowance:
        if self.allowances and to_mark:
            allowance = self.allowances.popleft()
            return Allowance(min(allowance.granted, len(to_mark)), allowance.wait)
        return Allowance(len(to_mark))

    async def commit(self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]) -> CommitResult:
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.commits += 1
        self.results += results
        for result in results:
            self.in_flight.discard(result.send_id)
        newly = {}
        for of, send in to_mark if self.may_mark else ():
            if send.id not in self.skip:
                self.tries[send.id] = self.tries.get(send.id, 0) + 1
                newly[send.id] = MarkedSend(of, send, self.tries[send.id], self.tries[send.id], NOW)
                self.in_flight.add(send.id)
        self.max_in_flight = max(self.max_in_flight, len(self.in_flight))
        return CommitResult(self.may_mark, marked=newly, recorded=frozenset(result.send_id for result in results))

    def statuses(self) -> dict[str, SendStatus]:
        """The last result of each send, by the number in its id."""
        return {str(result.send_id.int - 1000): result.status for result in self.results}
