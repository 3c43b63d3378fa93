"""What happens in one world: who gets mail, how the service is set up, what goes wrong and when. A seed decides it all.

A scenario is plain data, so that a failing one can be shrunk: each list is a list of things to leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from marketing_service.replies import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulation.model.database import Request


class Step(StrEnum):
    """What the relay is about to answer. `CONNECT` is the banner, `DOT` the end of a message."""

    CONNECT = "CONNECT"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "DOT"
    RSET = "RSET"
    NOOP = "NOOP"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A negative reply, and what the relay means with it."""

    step: Step
    code: int
    text: str
    scope: Scope


REFUSALS: tuple[Refusal, ...] = (
    Refusal(Step.CONNECT, 421, "4.3.2 Service not available, closing transmission channel", Scope.RELAY),
    Refusal(Step.CONNECT, 554, "5.3.2 No SMTP service here", Scope.SENDER),
    Refusal(Step.MAIL, 421, "4.3.2 Service shutting down", Scope.CONNECTION),
    Refusal(Step.MAIL, 451, "4.4.5 Too many messages on this connection", Scope.CONNECTION),
    Refusal(Step.MAIL, 452, "4.3.1 Insufficient system storage", Scope.RELAY),
    Refusal(Step.MAIL, 450, "4.7.1 Error: too much mail from you", Scope.RELAY),
    Refusal(Step.MAIL, 550, "5.4.5 Daily user sending limit exceeded", Scope.ACCOUNT),
    Refusal(Step.MAIL, 552, "5.3.4 Message size exceeds fixed limit", Scope.MESSAGE),
    Refusal(Step.MAIL, 553, "5.7.1 Sender address rejected: not owned by user", Scope.SENDER),
    Refusal(Step.RCPT, 550, "5.1.1 User unknown", Scope.RECIPIENT),
    Refusal(Step.RCPT, 450, "4.2.0 Greylisted, try again later", Scope.RECIPIENT),
    Refusal(Step.RCPT, 452, "4.2.2 Mailbox full", Scope.RECIPIENT),
    Refusal(Step.RCPT, 451, "4.7.500 Server busy. Please try again later", Scope.DOMAIN),
    Refusal(Step.RCPT, 421, "4.3.2 Service shutting down", Scope.CONNECTION),
    Refusal(Step.RCPT, 452, "4.5.3 Too many recipients on this connection", Scope.CONNECTION),
    Refusal(Step.RCPT, 452, "4.3.1 Insufficient system storage", Scope.RELAY),
    Refusal(Step.RCPT, 550, "5.7.1 Sender address rejected: not owned by user", Scope.SENDER),
    Refusal(Step.DATA, 452, "4.3.1 Insufficient system storage", Scope.RELAY),
    Refusal(Step.DATA, 421, "4.3.2 Service shutting down", Scope.CONNECTION),
    Refusal(Step.DOT, 550, "5.7.1 Message rejected as spam by the recipient's policy", Scope.RECIPIENT),
    Refusal(Step.DOT, 451, "4.4.5 Too many messages on this connection", Scope.CONNECTION),
    Refusal(Step.DOT, 452, "4.3.1 Insufficient system storage", Scope.RELAY),
    Refusal(Step.DOT, 550, "5.4.5 Daily user sending limit exceeded", Scope.ACCOUNT),
    Refusal(Step.DOT, 421, "4.3.2 Service shutting down", Scope.CONNECTION),
)
"""Replies of every scope, at every step. A test compares `scope` with the classification."""


class Deed(StrEnum):
    """What a relay does instead of its usual answer."""

    REFUSE = "refuses"
    HANG_UP = "hangs up"
    ACCEPT_AND_HANG_UP = "accepts the message and hangs up"
    SAY_NOTHING = "says nothing more on this connection"
    WAIT = "answers late"


@dataclass(frozen=True, slots=True)
class RelayFault:
    """From the `first`-th time on that the relay is at this step, and for `times` times, it does this."""

    step: Step
    first: int
    times: int
    deed: Deed
    refusal: Refusal | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The `connection`-th connection ends after this many octets have arrived at the relay, or at the service."""

    connection: int
    octets: int
    at_relay: bool


class DatabaseDeed(StrEnum):
    """What happens to a request to PostgreSQL."""

    NOTHING = "it is answered"
    LOSE_REQUEST = "the request is lost"
    LOSE_ANSWER = "the answer is lost"


class ProcessDeed(StrEnum):
    KILL = "is killed"
    FREEZE = "is frozen"
    DRAIN = "is told to stop"


@dataclass(frozen=True, slots=True)
class DatabaseFault:
    """What happens to the `request`-th request of its kind that a worker makes.

    The worker is killed or frozen at this moment, if `process` says so. A frozen one goes on after `seconds`, and with
    `until_marked` already when another worker marks a send of its batch: then both believe that they have the batch.
    """

    kind: Request
    request: int
    deed: DatabaseDeed
    process: ProcessDeed | None = None
    seconds: float = 0.0
    until_marked: bool = False


class Part(StrEnum):
    """A server that is away."""

    DATABASE = "PostgreSQL"
    QUEUE = "Redis"
    RELAY = "the relay"


@dataclass(frozen=True, slots=True)
class Outage:
    part: Part
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class ProcessFault:
    """At this time, the worker is killed (and another one starts after some seconds), frozen, or drained."""

    worker: int
    deed: ProcessDeed
    at: float
    seconds: float
    until_marked: bool = False


class Wish(StrEnum):
    """What a person does."""

    PAUSE = "pauses"
    RESUME = "resumes"
    CANCEL = "cancels"
    OPT_OUT = "opts out"
    SUPPRESS = "suppresses"
    RESEND = "resends"


@dataclass(frozen=True, slots=True)
class UserAct:
    """At this time, a person does something to a campaign, or to one of its recipients."""

    wish: Wish
    campaign: int
    person: int
    at: float


@dataclass(frozen=True, slots=True)
class Person:
    """A recipient; the relay gives this answer (None: it accepts) to the first `times` messages for this person."""

    number: int
    domain: str
    refusal: Refusal | None = None
    times: int = 0
    has_refused_values: bool = False
    """Whether PostgreSQL refuses the values of this person's results, other than that the outcome is unknown."""

    @property
    def email(self) -> str:
        return f"person{self.number}@{self.domain}"


@dataclass(frozen=True, slots=True)
class Setup:
    """How the service and the relay are set up."""

    workers: int = 1
    jobs: int = 2
    connections: int = 2
    messages_per_connection: int = 100
    window: int = 2
    lease: float = 6.0
    sweep: float = 3.0
    requeue: float = 6.0
    retry_delays: tuple[float, ...] = (3.0, 8.0)
    resend_ambiguous: bool = False
    rate: int | None = None
    """Messages in any two seconds that the rate limiter allows for all workers together."""
    costly: bool = False
    """Whether messages take long to render."""
    large: bool = False
    """Whether a message is written in several chunks."""
    pipelining: bool = True
    lenient: bool = False
    """Whether the relay answers DATA with 354 although it refused the recipient (RFC 2920 §3.1)."""
    relay_connections: int | None = None
    """How many connections the relay allows; None: any number."""
    session_messages: int | None = None
    """After so many messages, the relay refuses the next one of a session with 421."""
    latency: float = 0.01
    """A message on the network takes up to so many seconds."""
    shuffle: float = 0.5


_LATENCIES_PER_LEASE = 20
_COUNTED_UNTIL = 20.0
"""Seconds. A fault that waits for the n-th time of something does not happen later."""


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    setup: Setup
    people: tuple[Person, ...]
    campaigns: tuple[tuple[tuple[int, ...], ...], ...]
    """For each campaign its batches, and for each batch the numbers of its people."""
    relay_faults: tuple[RelayFault, ...] = ()
    cuts: tuple[Cut, ...] = ()
    database_faults: tuple[DatabaseFault, ...] = ()
    outages: tuple[Outage, ...] = ()
    process_faults: tuple[ProcessFault, ...] = ()
    user_acts: tuple[UserAct, ...] = ()

    @property
    def last_event_at(self) -> float:
        """When the last thing happens that has a time."""
        ends = [outage.at + outage.seconds for outage in self.outages]
        ends += [fault.at + fault.seconds for fault in self.process_faults]
        return max([0.0, *ends, *(act.at for act in self.user_acts)])

    @property
    def quiet_at(self) -> float:
        """When all faults have stopped, those too that wait for their turn."""
        return max(_COUNTED_UNTIL if self.has_counted_faults else 0.0, self.last_event_at)

    @property
    def has_counted_faults(self) -> bool:
        return bool(self.relay_faults or self.cuts or self.database_faults)

    @property
    def is_ledger_calm(self) -> bool:
        """Whether no fault hides what the ledger answers, and every worker works all the time and can renew its leases
        in time: a renewal takes several round trips, and the next one begins a third of a lease later."""
        is_fast = self.setup.latency * _LATENCIES_PER_LEASE <= self.setup.lease
        return is_fast and not (self.process_faults or self.database_faults or self.has_lost_answers)

    @property
    def has_lost_answers(self) -> bool:
        """Whether an answer of PostgreSQL may be lost."""
        is_lost = any(fault.deed is not DatabaseDeed.NOTHING for fault in self.database_faults)
        return is_lost or any(outage.part is Part.DATABASE for outage in self.outages)

    def faults(self) -> Mapping[str, tuple[object, ...]]:
        """All that can be left out, by the name of its field."""
        names = ("relay_faults", "cuts", "database_faults", "outages", "process_faults", "user_acts")
        return {name: getattr(self, name) for name in names}
