"""Who gets what next: the bound of two marked sends per connection, as a property of every sequence of events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.ledger.commit_results import CommitResult, MarkedSend
from marketing_service.replies import Phase, Scope
from marketing_service.sending.assignment import MAX_MARKED_PER_CONNECTION, Assignment
from marketing_service.sending.connection_session import ConnectionSession
from tests.support.engine import (
    ACCEPTED,
    NOW,
    ScriptedConnection,
    ScriptedMailer,
    active_batch,
    marked,
    refused,
    waiting,
)

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.sending.batch import ActiveBatch
    from marketing_service.store.batches import WaitingSend

SENDS = 12

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(1, 5)),  # a session, on a connection good for so many messages
        st.tuples(st.just("close"), st.integers(0, 3)),  # the session ends with the sends it has
        st.tuples(st.just("start commit"), st.integers(0, 0)),
        st.tuples(st.just("apply commit"), st.integers(0, 4)),  # the rate limiter allows so many
        st.tuples(st.just("submit"), st.integers(0, 3)),
        st.tuples(st.just("pause"), st.integers(0, 0)),
    ),
    max_size=60,
)


class Machine:
    """Drives an assignment as the dispatcher and the commit loop do, one event after the other."""

    def __init__(self) -> None:
        self.assignment = Assignment()
        self.batches = [active_batch(*(waiting(100 * n + k) for k in range(SENDS)), number=n) for n in range(2)]
        for batch in self.batches:
            self.assignment.add(batch)
        self.mailer = ScriptedMailer(lambda: ScriptedConnection(lambda _: ACCEPTED))
        self.marked_in_ledger: set[UUID] = set()
        self.under_way: list[tuple[ActiveBatch, WaitingSend]] | None = None
        self.most_places = 0
        self.paused = False

    def run(self, event: str, value: int) -> None:
        sessions = self.assignment.sessions
        match event:
            case "open":
                sessions.append(ConnectionSession(ScriptedConnection(lambda _: ACCEPTED, messages=value), self.mailer))
            case "close" if sessions:
                session = sessions.pop(value % len(sessions))
                for marked in session.assigned:
                    self.assignment.add_result(self.assignment.batch_of(marked).not_started(marked))
            case "start commit" if self.under_way is None:
                self.start_commit()
            case "apply commit" if self.under_way is not None:
                self.apply_commit(value)
            case "submit" if sessions:
                self.submit(sessions[value % len(sessions)])
            case "pause":
                self.paused = True

    def start_commit(self) -> None:
        self.results = self.assignment.take_results()
        self.under_way = self.assignment.select_to_mark()
        places = MAX_MARKED_PER_CONNECTION * sum(session.takes_more for session in self.assignment.sessions)
        newly = len(self.under_way)
        if newly:
            assert self.assignment.marked + newly <= places, "more than two marked sends for each connection"
        self.assignment.marking_starts(self.under_way)

    def apply_commit(self, allowed: int) -> None:
        assert self.under_way is not None
        to_mark, self.under_way = self.under_way, None
        allowed = min(allowed, len(to_mark))
        for result in self.results:
            self.marked_in_ledger.discard(result.send_id)
        marked = {}
        if not self.paused:
            for batch, send in to_mark[:allowed]:
                assert send.id not in self.marked_in_ledger, "a send is marked twice"
                self.marked_in_ledger.add(send.id)
                marked[send.id] = MarkedSend(batch.claim, send, 1, 1, NOW)
        commit = CommitResult(not self.paused, marked=marked, recorded=frozenset(r.send_id for r in self.results))
        self.assignment.apply(self.results, to_mark, allowed, commit)

    def submit(self, session: ConnectionSession) -> None:
        if not session.assigned and self.assignment.unassigned and session.takes_more:
            session.assign(self.assignment.unassigned.popleft())
        if session.assigned:
            marked = session.assigned.popleft()
            self.assignment.add_result(self.assignment.batch_of(marked).result(marked, ACCEPTED))


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_every_marked_send_has_a_place_and_none_is_lost(events: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        machine = Machine()
        for event, value in events:
            machine.run(event, value)
        # Faults are over: one good connection, and every commit succeeds.
        machine.paused = False
        if machine.under_way is not None:
            machine.apply_commit(SENDS)
        for session in list(machine.assignment.sessions):
            machine.run("close", machine.assignment.sessions.index(session))
        machine.run("open", 1000)
        for _ in range(4 * SENDS):
            machine.start_commit()
            machine.apply_commit(SENDS)
            machine.submit(machine.assignment.sessions[0])
        assert not machine.marked_in_ledger
        assert machine.assignment.marked == 0
        assert all(batch.in_flight == 0 for batch in machine.batches)

    asyncio.run(scenario())


def session() -> ConnectionSession:
    connection = ScriptedConnection(lambda _: ACCEPTED)
    return ConnectionSession(connection, ScriptedMailer(lambda: connection))


def test_without_a_session_nothing_is_marked() -> None:
    async def scenario() -> None:
        assignment = Assignment()
        assignment.add(active_batch(waiting(1)))
        assert assignment.select_to_mark() == []

    asyncio.run(scenario())


def test_the_oldest_and_the_newest_batch_get_half_of_the_sends_each() -> None:
    """The newest may be one of due retries."""

    async def scenario() -> None:
        assignment = Assignment()
        for number in range(3):
            assignment.add(active_batch(*(waiting(10 * number + place) for place in range(3)), number=number))
        found = []
        for connections in (1, 2, 3):
            assignment.sessions = [session() for _ in range(connections)]
            found += [batch.claim.number for batch, _ in assignment.select_to_mark()]
        # Nothing holds the marked sends here, so each selection has room for two sends per connection.
        assert found == [0, 2, 0, 2, 0, 2, 1, 1, 1]

    asyncio.run(scenario())


def test_a_send_that_the_relay_refused_comes_after_those_of_all_batches() -> None:
    async def scenario() -> None:
        assignment = Assignment()
        first, second = active_batch(waiting(1), number=0), active_batch(waiting(2), number=1)
        send = first.take()
        assert send is not None
        first.result(marked(send), refused(450, "4.7.1 Error: too much mail", Phase.MAIL), Scope.RELAY)
        first.settle(send.id, waits_again=True)
        for batch in (first, second):
            assignment.add(batch)
        assignment.sessions = [session()]
        assert [chosen.id for _, chosen in assignment.select_to_mark()] == [waiting(2).id, waiting(1).id]

    asyncio.run(scenario())


def test_an_idle_session_gets_two_sends() -> None:
    async def scenario() -> None:
        machine = Machine()
        machine.run("open", 100)
        machine.start_commit()
        machine.apply_commit(SENDS)
        assert machine.assignment.sessions[0].load == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("newest_is_first", [True, False])
async def test_of_two_claims_of_one_batch_only_the_newest_marks(newest_is_first: bool) -> None:
    """This process claims the batch again after its lease ran out, and does not know yet that the first claim is lost.
    Before, it submitted the send twice."""
    send = waiting(1)
    old, new = active_batch(send, epoch=1), active_batch(send, epoch=2)
    assignment = Assignment()
    for batch in (new, old) if newest_is_first else (old, new):
        assignment.add(batch)
    mailer = ScriptedMailer(lambda: ScriptedConnection(lambda _: ACCEPTED))
    assignment.sessions.append(ConnectionSession(ScriptedConnection(lambda _: ACCEPTED), mailer))
    assert assignment.select_to_mark() == [(new, send)]
    await asyncio.wait_for(old.finished(), 1)
