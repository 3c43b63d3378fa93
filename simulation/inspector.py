"""The invariants: what must hold after every commit, and after every message that the relay gets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from marketing_service.replies import Scope
from marketing_service.sending.batch import MAX_CONNECTION_REFUSALS, MAX_RELAY_REFUSALS
from marketing_service.sending.retries import MAX_LOSSES
from marketing_service.store.states import MOVES
from marketing_service.tokens.bounce import Bounced
from simulation.loop import WORLD
from simulation.model.counters import count, count_reasons
from simulation.model.recipients import LOST
from simulation.model.rows import COUNTERS, STATES, Batch, Campaign, Reason, Send, Table
from simulation.scenario import Refusal, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from marketing_service.tokens import BounceAddresses
    from simulation.loop import Process
    from simulation.model.rows import Row
    from simulation.model.work import Ledger
    from simulation.network import Connection
    from simulation.scenario import Scenario

_NOT_SENT = ("QUEUED", "DEFERRED", "FAILED", "SKIPPED")
_MAIL = b"MAIL FROM:<"
_MESSAGE_ID = re.compile(rb"Message-ID: <([0-9a-f]{32})@")
_MAX_MARKED_PER_CONNECTION = 2
_THAWING = 1.0
"""Seconds after a freeze in which time-outs and replies come together."""
_COMMITS = 8
"""A send that is marked now was chosen at most so many commits ago: a group that PostgreSQL refuses is split."""
_MOVES = frozenset((str(old), str(new)) for old, new in MOVES)


@dataclass(slots=True)
class Mark:
    """One permission to submit a send, and what became of it."""

    process: Process
    ended: str | None = None
    """The state in which the ledger has put the send."""
    has_expired: bool = False
    """Whether the end was that of the lease."""
    is_written: bool = False
    """Whether its MAIL command is written to a connection."""
    has_content_written: bool = False
    is_accepted: bool = False
    is_known: bool = False
    """Whether the worker has the reply that says so."""
    refusals: list[Refusal] = field(default_factory=list)


class Inspector:
    """Reads every commit and everything that the relay gets. `on_failure` gets the invariant and a sentence."""

    def __init__(
        self,
        scenario: Scenario,
        ledger: Ledger,
        bounces: BounceAddresses,
        tell: Callable[..., None],
        on_failure: Callable[[str, str], None],
        on_marked: Callable[[Process], None],
    ) -> None:
        self.fail = on_failure
        self._on_marked = on_marked
        self.granted = 0
        """How many messages the rate limiter has allowed."""
        self.killed: set[Process] = set()
        self.thawed_at: dict[Process, float] = {}
        self._scenario = scenario
        self._tables = ledger.tables
        self._clock = ledger.clock
        self._bounces = bounces
        self._tell = tell
        self._marks: dict[UUID, dict[int, Mark]] = defaultdict(dict)
        self._older: dict[UUID, list[Mark]] = defaultdict(list)
        """Marks whose attempt was marked again, because it was certainly not submitted."""
        self._claimed: dict[tuple[UUID, int | None], dict[Process, None]] = defaultdict(dict)
        """The processes that have claimed each batch."""
        self._written = 0
        self._accepted: Counter[UUID] = Counter()
        self._accepted_of_campaign: Counter[UUID] = Counter()
        self._may_be_sent: Counter[UUID] = Counter()
        """How often a send may be submitted again: user resends, and with `resend` every time it was unconfirmed."""
        self._resent: Counter[UUID] = Counter()
        self._open: Counter[Process] = Counter()
        self._opened: Counter[Process] = Counter()
        self._at_commits: dict[Process, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=_COMMITS))
        """How many connections were open, and were ever opened, when each of the last commits was requested."""

    def name(self, send_id: UUID) -> str:
        """A send in words."""
        send = self._tables.rows[Table.SENDS][send_id]
        assert isinstance(send, Send)
        number = list(self._tables.rows[Table.CAMPAIGNS]).index(send.campaign_id) + 1
        return f"the send to {send.email} of campaign {number}"

    # ── the ledger ──

    def committed(self, owner: Any, changes: list[tuple[Row | None, Row | None]]) -> None:
        """A transaction of `owner` has changed these rows."""
        process: Process = owner
        for old, new in changes:
            match old, new:
                case Send(), Send() if old.status != new.status:
                    self._moved(process, old, new)
                case Campaign(), Campaign():
                    self._campaign_changed(old, new)
                case Batch(), Batch():
                    self._batch_changed(process, old, new)
        touched = {row.campaign_id: None for _, row in changes if isinstance(row, Send)}
        for campaign_id in touched:
            self._must_add_up(campaign_id)

    def _must_add_up(self, campaign_id: UUID) -> None:
        campaign = self._tables.rows[Table.CAMPAIGNS][campaign_id]
        assert isinstance(campaign, Campaign)
        sends = [
            send
            for send in self._tables.rows[Table.SENDS].values()
            if isinstance(send, Send) and send.campaign_id == campaign_id
        ]
        counters = {name: getattr(campaign, name) for name in COUNTERS}
        if counters != count(sends):
            self.fail("the ledger adds up", f"The counters are {counters}, but the rows are {count(sends)}.")
        reasons = {
            row.key: row.sends
            for row in self._tables.rows[Table.REASONS].values()
            if isinstance(row, Reason) and row.campaign_id == campaign_id and row.sends
        }
        if reasons != count_reasons(sends):
            self.fail("the ledger adds up", f"The reasons are {reasons}, but the rows are {count_reasons(sends)}.")
        if campaign.recipients != sum(counters[name] for name in STATES) or min(counters.values()) < 0:
            self.fail("the ledger adds up", f"The counters do not add up to {campaign.recipients}: {counters}.")
        if (campaign.status == "SENT") != (campaign.unsettled == 0):
            self.fail("the ledger adds up", f"The campaign is {campaign.status}: {campaign.unsettled} are unsettled.")

    def _campaign_changed(self, old: Campaign, new: Campaign) -> None:
        number = list(self._tables.rows[Table.CAMPAIGNS]).index(new.id) + 1
        if (old.pause_reason, old.cancelled_at) != (new.pause_reason, new.cancelled_at):
            state = f"paused ({new.pause_reason})" if new.paused_at is not None else "not paused"
            self._tell("Campaign {} is {}.", number, "cancelled" if new.cancelled_at is not None else state)
        if old.status != new.status:
            self._tell("Campaign {} is {}.", number, new.status)

    def _batch_changed(self, process: Process, old: Batch, new: Batch) -> None:
        number = list(self._tables.rows[Table.CAMPAIGNS]).index(new.campaign_id) + 1
        if new.lease_until is not None and old.lease_until is None:
            self._claimed[new.campaign_id, new.number][process] = None
            self._tell("{} claims batch {} of campaign {}, epoch {}.", process, new.number, number, new.epoch)
        elif new.lease_until is None and old.lease_until is not None:
            self._tell("{} releases or settles batch {} of campaign {}.", process, new.number, number)

    def _moved(self, process: Process, old: Send, new: Send) -> None:
        self._tell(
            "{} commits: {} is {}{} (attempt {}, try {}).",
            process,
            self.name(new.id),
            new.status,
            "" if new.reason is None else f"/{new.reason}",
            new.attempts,
            new.tries,
        )
        if (old.status, new.status) not in _MOVES:
            self.fail("every move is allowed", f"{self.name(new.id)} went from {old.status} to {new.status}.")
        if new.status == "SENDING":
            self._must_be_markable(process, new)
        elif old.status == "SENDING":
            self._mark_ended(old, new)
        elif (old.status, new.status) == ("UNCONFIRMED", "QUEUED"):
            if process is not WORLD and not self._scenario.setup.resend_ambiguous:
                self.fail(
                    "no second submission", f"{process} sends {self.name(new.id)} again, and nobody asked for it."
                )
            self._may_be_sent[new.id] += 1
        elif (old.status, new.status) == ("UNCONFIRMED", "DELIVERED") and not self.is_accepted(new):
            self.fail("delivered means accepted", f"The relay has not accepted {self.name(new.id)}.")
        if (old.status, new.status) in {("UNCONFIRMED", "QUEUED"), ("FAILED", "QUEUED")} and process is WORLD:
            self._resent[new.id] += 1

    def is_accepted(self, send: Send) -> bool:
        """Whether the relay has accepted a message of this send."""
        return any(mark.is_accepted for mark in (*self._older[send.id], *self._marks[send.id].values()))

    # ── marks ──

    def _must_be_markable(self, process: Process, send: Send) -> None:
        campaign = self._tables.rows[Table.CAMPAIGNS][send.campaign_id]
        assert isinstance(campaign, Campaign)
        why = None
        if campaign.paused_at is not None:
            why = "the campaign is paused"
        elif campaign.cancelled_at is not None and send.queued_at <= campaign.cancelled_at:
            why = "the campaign is cancelled"
        elif (send.org_id, send.address) in self._tables.rows[Table.OPT_OUTS]:
            why = "the recipient has opted out"
        elif (send.org_id, send.address) in self._tables.rows[Table.SUPPRESSIONS]:
            why = "the address is suppressed"
        if why is not None:
            self.fail("only the marked leave", f"{process} marks {self.name(send.id)}, but {why}.")
        before = self._marks[send.id].get(send.attempts)
        if before is not None:
            self._older[send.id].append(before)
        self._marks[send.id][send.attempts] = Mark(process)
        for before_it in self._claimed[send.campaign_id, send.batch]:
            if before_it is not process:
                self._on_marked(before_it)
        self._must_have_connections(process)

    def _must_have_connections(self, process: Process) -> None:
        marked = sum(
            mark.ended is None and mark.process is process for marks in self._marks.values() for mark in marks.values()
        )
        if self._scenario.has_lost_answers:
            return  # marks whose commit was not answered belong to no connection
        was_open, were_opened = self._at_commits[process][0]
        connections = was_open + self._opened[process] - were_opened
        if marked > _MAX_MARKED_PER_CONNECTION * connections:
            self.fail("two marked sends per connection", f"{process}: {marked} marks, {connections} connections.")

    def commit_starts(self, process: Process) -> None:
        """A process asks for a commit. The sends that it marks were chosen before that, for the connections of then."""
        self._at_commits[process].append((self._open[process], self._opened[process]))

    def _mark_ended(self, old: Send, new: Send) -> None:
        mark = self._marks[old.id][old.attempts]
        mark.ended = new.status
        mark.has_expired = new.error_message == LOST
        if mark.has_expired and self._scenario.is_ledger_calm:
            self.fail("a working worker keeps its leases", f"The lease of {self.name(old.id)} ran out.")
        if mark.is_accepted and new.status in _NOT_SENT:
            self.fail("what was accepted is not lost", f"The relay has {self.name(old.id)}; it is {new.status}.")
        if new.status == "DELIVERED" and not mark.is_accepted:
            self.fail("delivered means accepted", f"The relay has not accepted {self.name(old.id)}.")
        if new.status in ("DEFERRED", "FAILED") and not self._may_use_a_try(old, mark):
            why = f"the relay said {mark.refusals[0].code} {mark.refusals[0].text}" if mark.refusals else "no reply"
            self.fail("a try is for the recipient", f"{self.name(old.id)} is {new.status}, but: {why}.")
        if new.status == "UNCONFIRMED" and not mark.has_expired and not self._is_refused(new):
            if mark.refusals and self._is_calm:
                self.fail("a reply is recorded", f"The relay refused {self.name(old.id)}, and it is UNCONFIRMED.")
            if not mark.has_content_written:
                self.fail("unconfirmed means written", f"No content of {self.name(old.id)} was written.")

    def _is_refused(self, send: Send) -> bool:
        """Whether PostgreSQL refuses the values of this send's results."""
        return any(person.email == send.email and person.has_refused_values for person in self._scenario.people)

    @property
    def _is_calm(self) -> bool:
        """Whether every reply of the relay arrives, and every result reaches the ledger at once."""
        return self._scenario.is_ledger_calm and not self._scenario.cuts and not self._scenario.relay_faults

    def _may_use_a_try(self, send: Send, mark: Mark) -> bool:
        marks = [*self._older[send.id], *self._marks[send.id].values()]
        refusals = [each.refusals[0] for each in marks if each.refusals]
        scopes = Counter(refusal.scope for refusal in refusals if refusal.step is not Step.MAIL)
        if sum(each.is_written and not each.is_accepted for each in marks) >= MAX_LOSSES and not mark.is_known:
            return True  # its connection may have been lost each time
        if not mark.refusals:
            return False
        refusal = mark.refusals[0]
        match refusal.scope:
            case Scope.RECIPIENT | Scope.DOMAIN:
                return True
            case Scope.RELAY | Scope.CONNECTION:
                enough = MAX_RELAY_REFUSALS if scopes[Scope.RELAY] else MAX_CONNECTION_REFUSALS
                return scopes[Scope.RELAY] + scopes[Scope.CONNECTION] >= enough
            case Scope.SENDER:
                return refusal.step is not Step.MAIL and self._accepted_of_campaign[send.campaign_id] > 0
            case _:
                return False

    # ── the relay ──

    def written(self, connection: Connection, octets: bytes) -> None:
        """A worker writes to a connection."""
        for content in _MESSAGE_ID.finditer(octets):
            for mark in self._marks[UUID(bytes.fromhex(content[1].decode("ascii")).hex())].values():
                mark.has_content_written |= mark.process is connection.process
        at = octets.find(_MAIL)
        while at >= 0:
            address = octets[at + len(_MAIL) : octets.index(b">", at)].decode("ascii")
            at = octets.find(_MAIL, at + 1)
            bounced = self._bounces.read(address)
            if isinstance(bounced, Bounced):  # a probe names no send
                self._must_be_marked(connection, bounced)

    def _must_be_marked(self, connection: Connection, bounced: Bounced) -> None:
        mark = self._marks[bounced.send_id].get(bounced.attempt)
        process, name = connection.process, self.name(bounced.send_id)
        self._tell("{} writes {} to connection {}.", process, name, connection.number)
        if mark is None:
            self.fail("marked before it is written", f"{process} writes {name}, which is not marked.")
            return
        if mark.ended is not None and not mark.has_expired and mark.process is process:
            self.fail("marked before it is written", f"{process} writes {name}, whose result is {mark.ended}.")
        if mark.process is process and not mark.is_written:
            mark.is_written = True
            self._written += 1
            if self._scenario.setup.rate is not None and self._written > self.granted:
                self.fail("the rate limit holds", f"{self._written} sends were written, {self.granted} were allowed.")

    def opened(self, process: Process) -> None:
        self._open[process] += 1
        self._opened[process] += 1

    def closed(self, process: Process) -> None:
        self._open[process] -= 1

    def refused(self, bounced: Bounced, refusal: Refusal) -> None:
        """The relay refuses the envelope or the message."""
        mark = self._marks[bounced.send_id].get(bounced.attempt)
        if mark is not None and mark.ended is None:
            mark.refusals.append(refusal)

    def accepted(self, bounced: Bounced, recipient: str, content: bytes) -> None:
        """The relay accepts a message."""
        send = self._tables.rows[Table.SENDS][bounced.send_id]
        assert isinstance(send, Send)
        name = self.name(send.id)
        self._tell("The relay accepts {} (attempt {}).", name, bounced.attempt)
        if recipient != send.email or bounced.send_id.hex.encode() not in content:
            self.fail("each gets their own message", f"{recipient} gets a message that is not theirs: {name}.")
        mark = self._marks[send.id].get(bounced.attempt)
        if mark is None:
            self.fail("marked before it is written", f"The relay gets {name}, which is not marked.")
            return
        self._accepted[send.id] += 1
        self._accepted_of_campaign[send.campaign_id] += 1
        if self._accepted[send.id] > 1 + self._may_be_sent[send.id]:
            self.fail("no second submission", f"The relay gets {name} a second time, and nobody asked for it.")
        if mark.ended in _NOT_SENT:
            self.fail("what was accepted is not lost", f"The relay gets {name}, which is {mark.ended}.")
        mark.is_accepted = True

    def acceptance_known(self, bounced: Bounced, process: Process) -> None:
        """The worker has the reply that accepts the message. A worker that was frozen until now may have given up the
        wait for it, at the same moment."""
        mark = self._marks[bounced.send_id].get(bounced.attempt)
        was_frozen = self._clock() - self.thawed_at.get(process, 0.0) < _THAWING
        if mark is not None and mark.process is process and not was_frozen:
            mark.is_known = True

    # ── the end ──

    def must_have_ended_well(self) -> None:
        """All campaigns have ended: every known result is recorded, and no batch is left."""
        for send_id, marks in self._marks.items():
            send = self._tables.rows[Table.SENDS][send_id]
            assert isinstance(send, Send)
            for mark in marks.values():
                is_recorded = send.status == "DELIVERED" or self._may_be_sent[send_id] or self._resent[send_id]
                is_recorded = is_recorded or self._is_refused(send)
                if mark.is_accepted and mark.is_known and mark.process not in self.killed and not is_recorded:
                    self.fail("a reply is recorded", f"The relay accepted {self.name(send_id)}; it is {send.status}.")
                if mark.is_accepted and send.sent_at is None and send.unconfirmed_at is None:
                    self.fail("what was accepted is not lost", f"The relay has {self.name(send_id)}: {send.status}.")
        # A batch whose last sends were skipped stays, without a claim, until the campaign is sent again.
        for batch in self._tables.rows[Table.BATCHES].values():
            if isinstance(batch, Batch) and batch.lease_until is not None:
                self.fail("nothing is left", f"All campaigns have ended, and batch {batch.number} is leased.")
