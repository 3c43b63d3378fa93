"""The way from a process to PostgreSQL: it takes time, and requests and answers can be lost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from marketing_service.errors import Unavailable
from simulation.loop import WORLD, Process, current_process
from simulation.model.database import Request, answered
from simulation.scenario import DatabaseDeed

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from simulation.inspector import Inspector
    from simulation.loop import VirtualLoop
    from simulation.model.database import Done
    from simulation.model.work import Ledger, Work
    from simulation.scenario import DatabaseFault

_MAX_IDLENESS = 10.0
"""Seconds after which PostgreSQL ends an idle transaction (`db/session.py`)."""


class Database:
    """The server, as all processes see it."""

    def __init__(
        self,
        loop: VirtualLoop,
        ledger: Ledger,
        inspector: Inspector,
        tell: Callable[..., None],
        *,
        order: random.Random,
        latency: float,
        faults: tuple[DatabaseFault, ...],
        on_process_fault: Callable[[Process, DatabaseFault], None],
    ) -> None:
        self.loop = loop
        self.faults = faults
        self.is_away = False
        self._ledger = ledger
        self._inspector = inspector
        self._tell = tell
        self._order = order
        self._latency = latency
        self._requests: Counter[Request] = Counter()
        self._on_process_fault = on_process_fault
        self._pending: dict[Callable[[Any], None], None] = {}

    def stop(self) -> None:
        """The server stops: open transactions and connections end."""
        self.is_away = True
        for work in list(self._ledger.open):
            work.roll_back()
        pending, self._pending = self._pending, {}
        for answer in pending:
            answer(Unavailable("PostgreSQL", cause="the server is stopped"))

    def start(self) -> None:
        self.is_away = False

    def end_transactions_of(self, process: Process) -> None:
        """The process has ended, and its connections with it."""
        for work in list(self._ledger.open):
            if work.owner is process:
                work.roll_back()

    async def request(self, work: Work, run: Callable[[Done], None], kind: Request) -> Any:
        """See simulation.model.database.Link."""
        process = current_process()
        if kind is Request.CALL:
            self._inspector.commit_starts(process)
        future: asyncio.Future[Any] = self.loop.create_future()

        def arrive(answer: Any) -> None:
            if not future.done():
                future.set_result(answer)

        def answer(value: Any) -> None:
            self._pending.pop(answer, None)
            self.loop.call_in(process, self._delay(), arrive, value)

        self._pending[answer] = None
        fault = None if process is WORLD else self._fault(kind)
        self.loop.call_in(WORLD, self._delay(), self._arrived, work, run, answer, fault)
        return answered(await future)

    def _delay(self) -> float:
        return self._order.random() * self._latency

    def _fault(self, kind: Request) -> DatabaseFault | None:
        self._requests[kind] += 1
        for fault in self.faults:
            if fault.kind is kind and fault.request == self._requests[kind]:
                return fault
        return None

    def _arrived(
        self, work: Work, run: Callable[[Done], None], answer: Callable[[Any], None], fault: DatabaseFault | None
    ) -> None:
        if answer not in self._pending:
            return
        deed = DatabaseDeed.NOTHING if fault is None else fault.deed
        if self.is_away or deed is DatabaseDeed.LOSE_REQUEST:
            if fault is not None:
                self._tell("A request of {} to PostgreSQL is lost.", work.owner)
            work.roll_back()
            answer(Unavailable("PostgreSQL", cause="the connection is lost"))
        elif deed is DatabaseDeed.LOSE_ANSWER:
            self._tell("PostgreSQL does what {} asks, and its answer is lost.", work.owner)
            run(lambda _answer: self._lose_answer(work, answer))
        else:
            self._end_if_idle(work)
            run(answer)
            if work.waits_for is not None:
                self.loop.call_in(WORLD, _MAX_IDLENESS, self._end_if_idle, work.waits_for)
        if fault is not None and fault.process is not None and isinstance(work.owner, Process):
            self._on_process_fault(work.owner, fault)

    def _lose_answer(self, work: Work, answer: Callable[[Any], None]) -> None:
        work.roll_back()  # does nothing if the request has committed
        answer(Unavailable("PostgreSQL", cause="the connection is lost"))

    def _end_if_idle(self, work: Work) -> None:
        """End a transaction that did nothing for too long. Looks again if it still runs."""
        if work.is_ended or work.waits_for is not None:
            return
        idle = self._ledger.clock() - work.now
        if idle >= _MAX_IDLENESS:
            self._tell("PostgreSQL ends a transaction of {} that was idle for too long.", work.owner)
            work.roll_back()
        elif self._ledger.is_waited_for(work):
            self.loop.call_in(WORLD, _MAX_IDLENESS - idle, self._end_if_idle, work)
