"""One world: the service, its servers, its users and its faults, until all campaigns have ended."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import structlog

from marketing_service.tokens import BounceAddresses, TokenKeyring
from simulation.inspector import Inspector
from simulation.link import Database
from simulation.loop import WORLD, NothingHappens, Process, VirtualLoop
from simulation.model.rows import Batch, Campaign, Send, Table
from simulation.model.work import Ledger
from simulation.network import Connection
from simulation.people import Users
from simulation.relay import Relay, Session
from simulation.scenario import Part, ProcessDeed
from simulation.services import Queue, Rates
from simulation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulation.scenario import DatabaseFault, Outage, ProcessFault, Scenario

_EPOCH = 1_800_000_000.0
"""When a world begins, in seconds as `time.time()` has them."""
_MAX_SECONDS = 3600.0
"""So long after the last fault, every campaign must have ended."""
_MAX_STEPS = 400_000
_LAST_SECONDS = 40.0
"""So long the workers go on after the last campaign has ended: they release their batches."""
_KEYRING = TokenKeyring([b"0123456789abcdef0123456789abcdef"])
_BOUNCES = BounceAddresses(_KEYRING, "bounces.example")
_ORG = "acme"


class Line(NamedTuple):
    """Something that happened, in words."""

    at: float
    text: str


class Failure(NamedTuple):
    """An invariant that did not hold, and the sentence that says how."""

    invariant: str
    text: str


class World:
    """A scenario while it runs. `run` can be called once."""

    def __init__(self, scenario: Scenario) -> None:
        setup = scenario.setup
        self.scenario = scenario
        self.order = random.Random(f"order {scenario.seed}")
        self.loop = VirtualLoop(self.order, shuffle=setup.shuffle)
        self.loop.connector = self._connect
        self.failure: Failure | None = None
        self.tokens, self.bounces = _KEYRING, _BOUNCES
        self.ledger = Ledger(lambda: _EPOCH + self.loop.time())
        self.inspector = Inspector(scenario, self.ledger, _BOUNCES, self.tell, self.fail, self._on_marked)
        self.ledger.committed = self.inspector.committed
        self.database = Database(
            self.loop, self.ledger, self.inspector, self.tell,
            order=self.order, latency=setup.latency, faults=scenario.database_faults,
            on_process_fault=self._database_fault,
        )  # fmt: skip
        self.queue = Queue(self.loop, self.order, setup.latency)
        self.rates = None if setup.rate is None else Rates(self.loop, self.queue, self.inspector, setup.rate)
        self.relay = Relay(self.loop, scenario, self.inspector, self.tell, _BOUNCES)
        self.users = Users(self)
        self.workers: dict[int, Worker] = {}
        self._told: list[tuple[float, str, tuple[Any, ...]]] = []
        self._connections: dict[Connection, None] = {}
        self._opened = 0
        self._starts = 0
        self._relay_is_away = False
        self._frozen_until_marked: dict[Process, None] = {}
        self._finished = self.loop.create_future()
        self.campaigns = self._insert()
        self.ledger.refused_values = {person.email for person in scenario.people if person.has_refused_values}

    # ── the story ──

    def tell(self, text: str, *values: object) -> None:
        """Add a line to the story."""
        self._told.append((self.loop.time(), text, values))

    def story(self) -> list[Line]:
        """All that happened, in order."""
        return [Line(at, text.format(*values)) for at, text, values in self._told]

    def fail(self, invariant: str, text: str) -> None:
        """An invariant does not hold. The world ends."""
        if self.failure is None:
            self.failure = Failure(invariant, text)
            self.tell("FAILED: {}. {}", invariant, text)
            self._finish()

    def failed(self, process: Process, what: str, error: BaseException) -> None:
        """Something in a process ended with an error that nothing expects."""
        self.fail("no unexpected error", f"{process}: {what} ended with {type(error).__name__}: {error}")

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    # ── a run ──

    def run(self) -> Failure | None:
        """Run until all campaigns have ended, or an invariant does not hold."""
        self.loop.set_exception_handler(self._on_loop_error)
        for number in range(self.scenario.setup.workers):
            self._start_worker(number)
        for outage in self.scenario.outages:
            self.loop.call_in(WORLD, outage.at, self._stop_part, outage)
        for fault in self.scenario.process_faults:
            self.loop.call_in(WORLD, fault.at, self._process_fault, fault)
        self.users.start()
        self.loop.call_in(WORLD, self.scenario.quiet_at, self._quiet)
        self._check_end(self.scenario.quiet_at + _MAX_SECONDS)
        try:
            self.loop.run_until_complete(self._finished)
        except NothingHappens:
            self.fail("once faults stop, every campaign ends", "Nothing happens any more.")
        self.loop.end()
        return self.failure

    def _on_loop_error(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.fail("no unexpected error", f"{context.get('message')}: {type(error).__name__}: {error}")

    def _quiet(self) -> None:
        """All faults have stopped."""
        self.tell("From now on, nothing goes wrong.")
        self.relay.faults = ()
        self.database.faults = ()

    def _check_end(self, deadline: float) -> None:
        """Look whether all campaigns have ended, and again after a second."""
        campaigns = [row for row in self.ledger.tables.rows[Table.CAMPAIGNS].values() if isinstance(row, Campaign)]
        unfinished = [campaign for campaign in campaigns if campaign.status != "SENT"]
        now = self.loop.time()
        if not unfinished and now >= self.scenario.last_event_at:
            self.relay.faults, self.database.faults = (), ()
            self._wait_for_workers(now + _LAST_SECONDS)
            return
        if unfinished and (now > deadline or self.loop.steps > _MAX_STEPS):
            number = campaigns.index(unfinished[0]) + 1
            self.fail("once faults stop, every campaign ends", f"Campaign {number} does not end: {unfinished[0]}.")
        elif now >= self.scenario.quiet_at:
            self.users.resume(unfinished)
        self.loop.call_in(WORLD, 1.0, self._check_end, deadline)

    def _wait_for_workers(self, deadline: float) -> None:
        """All campaigns have ended: the workers release their batches."""
        is_claimed = any(
            isinstance(row, Batch) and row.lease_until for row in self.ledger.tables.rows[Table.BATCHES].values()
        )
        is_over = not is_claimed and all(worker.is_idle for worker in self.workers.values())
        if self.loop.time() < deadline and not is_over:
            self.loop.call_in(WORLD, 0.5, self._wait_for_workers, deadline)
        else:
            self._ended()

    def _ended(self) -> None:
        self.inspector.must_have_ended_well()
        for worker in self.workers.values():
            if not worker.is_idle:
                self.fail("nothing is left", f"All campaigns have ended, and {worker.process} still works.")
            if self.scenario.is_ledger_calm and worker.sender.stats.refused_by_fence:
                self.fail("a result is recorded once", f"The fence has refused a result of {worker.process}.")
        self._finish()

    # ── the ledger at the start ──

    def _insert(self) -> list[UUID]:
        tables, now = self.ledger.tables, self.ledger.clock()
        ids = []
        for place, batches in enumerate(self.scenario.campaigns):
            campaign_id = UUID(int=0xCA00 + place)
            numbers = [number for batch in batches for number in batch]
            tables.insert(
                Campaign(
                    campaign_id,
                    _ORG,
                    expanded_at=now,
                    audience_read_at=now,
                    recipients=len(numbers),
                    queued=len(numbers),
                    next_batch=len(batches),
                    first_retry_batch=len(batches),
                )
            )
            for number, people in enumerate(batches):
                tables.insert(Batch(_ORG, campaign_id, number))
                for person in people:
                    email = self.scenario.people[person].email
                    send_id = UUID(int=0x5E0000 + 0x1000 * place + person)
                    tables.insert(Send(send_id, _ORG, campaign_id, email, email, batch=number, queued_at=now))
            ids.append(campaign_id)
        return ids

    # ── processes ──

    def _start_worker(self, number: int) -> None:
        self._starts += 1
        worker = Worker(
            self, Process(f"worker {number + 1}" + (f" ({self._starts})" if number in self.workers else ""))
        )
        self.workers[number] = worker
        worker.start()

    def _process_fault(self, fault: ProcessFault) -> None:
        worker = self.workers.get(fault.worker)
        if worker is not None and not worker.process.stopped:
            self._do_to(fault.worker, fault.deed, fault.seconds, until_marked=fault.until_marked)

    def _database_fault(self, process: Process, fault: DatabaseFault) -> None:
        for number, worker in self.workers.items():
            if worker.process is process and not process.stopped and fault.process is not None:
                self._do_to(number, fault.process, fault.seconds, until_marked=fault.until_marked)
                return

    def _do_to(self, number: int, deed: ProcessDeed, seconds: float, *, until_marked: bool) -> None:
        worker = self.workers[number]
        self.tell("{} {}.", worker.process, deed.value)
        match deed:
            case ProcessDeed.KILL:
                self._end_process(number, seconds)
            case ProcessDeed.FREEZE:
                self.loop.stop_process(worker.process)
                if until_marked:
                    self._frozen_until_marked[worker.process] = None
                self.loop.call_in(WORLD, seconds, self._thaw, worker.process)
            case ProcessDeed.DRAIN:
                draining = self.loop.run_in(worker.process, worker.drain())
                draining.add_done_callback(
                    lambda _task: self._drained(number, worker, seconds), context=self.loop.context_of(WORLD)
                )

    def _on_marked(self, process: Process) -> None:
        """Another process has marked a send of a batch that this one had claimed: if it waited for this, it goes on."""
        if process in self._frozen_until_marked:
            self.loop.call_in(WORLD, 0.0, self._thaw, process)

    def _drained(self, number: int, worker: Worker, seconds: float) -> None:
        if self.workers.get(number) is worker and not worker.process.stopped:
            self._end_process(number, seconds)

    def _thaw(self, process: Process) -> None:
        self._frozen_until_marked.pop(process, None)
        if process.stopped and process not in self.inspector.killed:
            self.tell("{} goes on.", process)
            self.inspector.thawed_at[process] = self.ledger.clock()
            self.loop.continue_process(process)

    def _end_process(self, number: int, seconds: float) -> None:
        process = self.workers[number].process
        self.loop.stop_process(process)
        self.inspector.killed.add(process)
        for connection in list(self._connections):
            if connection.process is process:
                connection.die()
        self.database.end_transactions_of(process)
        self.loop.call_in(WORLD, seconds, self._start_worker, number)

    # ── servers ──

    def _stop_part(self, outage: Outage) -> None:
        self.tell("{} stops.", outage.part.value)
        match outage.part:
            case Part.DATABASE:
                self.database.stop()
                back: Callable[[], None] = self.database.start
            case Part.QUEUE:
                self.queue.stop()
                back = self.queue.start
            case Part.RELAY:
                self._relay_is_away = True
                for session in list(self.relay.sessions):
                    session.hang_up()
                back = self._start_relay
        self.loop.call_in(WORLD, outage.seconds, self._start_part, outage.part, back)

    def _start_part(self, part: Part, back: Callable[[], None]) -> None:
        self.tell("{} is back.", part.value)
        back()

    def _start_relay(self) -> None:
        self._relay_is_away = False

    async def _connect(self, protocol_factory: Any) -> tuple[Connection, Any]:
        """The loop's `create_connection`."""
        await asyncio.sleep(self.order.random() * self.scenario.setup.latency)
        if self._relay_is_away:
            raise ConnectionRefusedError(111, "Connection refused")
        self._opened += 1
        cut = next((cut for cut in self.scenario.cuts if cut.connection == self._opened), None)
        connection = Connection(
            self.loop, self.order, number=self._opened, latency=self.scenario.setup.latency,
            cut=None if self.loop.time() >= self.scenario.quiet_at else cut,
            on_write=self.inspector.written, on_closed=self._closed,
        )  # fmt: skip
        if cut is not None:
            where = "at the relay" if cut.at_relay else "at the service"
            self.tell("Connection {} will be cut after {} octets have arrived {}.", self._opened, cut.octets, where)
        self._connections[connection] = None
        self.inspector.opened(connection.process)
        protocol = protocol_factory()
        connection.set_protocol(protocol)
        protocol.connection_made(connection)
        self.loop.call_in(WORLD, 0.0, self._accept, connection)
        return connection, protocol

    def _accept(self, connection: Connection) -> None:
        connection.server = Session(self.relay, connection)

    def _closed(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self.inspector.closed(connection.process)


class _NoLog:
    """Drops all log lines: the story has what happened."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _drop


def _drop(*_: object, **__: object) -> None: ...


def drop_logs() -> None:
    """From now on, the engine's loggers do nothing."""
    structlog.configure(
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=lambda *_: _NoLog(),
    )
