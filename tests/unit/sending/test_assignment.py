"""Who gets what next: the bound of two marked sends per connection, as a property of every sequence of events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketing_service.ledger.commit_results import CommitResult, MarkedSend
from marketing_service.replies import Phase, Scope
from marketing_service.sending.assignment import Assignment
from marketing_service.sending.connection_session import ConnectionSession
from marketing_service.sending.mark_limit import MAX_MARKED_PER_CONNECTION, MarkLimit
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

    from marketing_service.ledger.commit_results import SendResult
    from marketing_service.sending.batch import ActiveBatch
    from marketing_service.store.batches import WaitingSend

SENDS = 12

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1),  # the campaign
        st.one_of(
            st.tuples(st.just("open"), st.integers(1, 5)),  # a session, on a connection good for so many messages
            st.tuples(st.just("close"), st.integers(0, 3)),  # the session ends with the sends it has
            st.tuples(st.just("pass"), st.integers(0, 3)),  # ... and the other campaign gets its connection
            st.tuples(st.just("start commit"), st.integers(0, 0)),
            st.tuples(st.just("apply commit"), st.integers(0, 4)),  # the rate limiter allows so many
            st.tuples(st.just("submit"), st.integers(0, 3)),
            st.tuples(st.just("pause"), st.integers(0, 0)),
        ),
    ),
    max_size=60,
)


class Machine:
    """Drives the assignment of one campaign as the dispatcher and the commit loop do, one event after the other."""

    def __init__(self, mailer: ScriptedMailer, limit: MarkLimit) -> None:
        self.assignment = Assignment(limit)
        self.batches = [active_batch(*(waiting(100 * n + k) for k in range(SENDS)), number=n) for n in range(2)]
        for batch in self.batches:
            self.assignment.add(batch)
        self.mailer = mailer
        self.limit = limit
        self.marked_in_ledger: set[UUID] = set()
        self.under_way: list[tuple[ActiveBatch, WaitingSend]] | None = None
        self.results: list[SendResult] = []
        self.paused = False

    def run(self, event: str, value: int, other: Machine) -> None:
        sessions = self.assignment.sessions
        match event:
            case "open":
                connection = ScriptedConnection(lambda _: ACCEPTED, messages=value)
                self.mailer.connections.append(connection)
                self.use(connection)
            case "close" if sessions:
                self.mailer.connections.remove(self.end(sessions[value % len(sessions)]))
            case "pass" if sessions:
                other.use(self.end(sessions[value % len(sessions)]))
            case "start commit" if self.under_way is None:
                self.start_commit()
            case "apply commit" if self.under_way is not None:
                self.apply_commit(value)
            case "submit" if sessions:
                self.submit(sessions[value % len(sessions)])
            case "pause":
                self.paused = True

    def use(self, connection: ScriptedConnection) -> None:
        self.assignment.sessions.append(ConnectionSession(connection, self.mailer))

    def end(self, session: ConnectionSession) -> ScriptedConnection:
        self.assignment.sessions.remove(session)
        for send in session.assigned:
            self.assignment.add_result(self.assignment.batch_of(send).not_started(send))
        assert isinstance(session.connection, ScriptedConnection)
        return session.connection

    def start_commit(self) -> None:
        self.results = self.assignment.take_results()
        self.under_way = self.assignment.select_to_mark()
        if self.under_way:
            assert self.assignment.marked + len(self.under_way) <= self.assignment.places, "a send without a place"
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
        self.assignment.commit_ended()
        self.assignment.apply(self.results, to_mark, allowed, commit)

    def submit(self, session: ConnectionSession) -> None:
        if not session.assigned and self.assignment.unassigned and session.takes_more:
            session.assign(self.assignment.unassigned.popleft())
        if session.assigned:
            marked = session.assigned.popleft()
            self.assignment.add_result(self.assignment.batch_of(marked).result(marked, ACCEPTED))

    def finish(self) -> None:
        """Faults are over: one good connection, and every commit succeeds."""
        self.paused = False
        if self.under_way is not None:
            self.apply_commit(SENDS)
        for session in list(self.assignment.sessions):
            self.mailer.connections.remove(self.end(session))
        self.run("open", 1000, self)
        for _ in range(4 * SENDS):
            self.start_commit()
            self.apply_commit(SENDS)
            self.submit(self.assignment.sessions[0])


def two_campaigns() -> tuple[Machine, Machine]:
    mailer = ScriptedMailer(lambda: ScriptedConnection(lambda _: ACCEPTED))
    limit = MarkLimit(mailer)
    return Machine(mailer, limit), Machine(mailer, limit)


@settings(max_examples=200, deadline=None)
@given(EVENTS)
def test_every_marked_send_has_a_place_and_none_is_lost(events: list[tuple[int, tuple[str, int]]]) -> None:
    async def scenario() -> None:
        campaigns = two_campaigns()
        for campaign, (event, value) in events:
            campaigns[campaign].run(event, value, campaigns[1 - campaign])
        for machine in campaigns:
            machine.finish()
            assert not machine.marked_in_ledger
            assert machine.assignment.marked == 0
            assert all(batch.in_flight == 0 for batch in machine.batches)

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["commit", "commit", "start commit", "pass", "submit"])),
        min_size=5,
        max_size=20,
    )
)
def test_a_process_marks_at_most_two_sends_for_each_open_connection(events: list[tuple[int, str]]) -> None:
    """Connections pass between two campaigns, also before the results of the first are committed."""

    async def scenario() -> None:
        campaigns = two_campaigns()
        campaigns[0].run("open", 100, campaigns[1])
        for campaign, event in events:
            this, other = campaigns[campaign], campaigns[1 - campaign]
            if event == "commit":
                this.run("start commit", 0, other)
                this.run("apply commit", SENDS, other)
            else:
                this.run(event, 0, other)
            marked = sum(len(each.marked_in_ledger) for each in campaigns)
            assert marked <= MAX_MARKED_PER_CONNECTION * len(this.mailer.connections)

    asyncio.run(scenario())


def test_a_campaign_is_told_when_the_results_of_another_are_recorded() -> None:
    """Its session has the connection of the other's last session, whose results are not committed yet."""

    async def scenario() -> None:
        first, second = two_campaigns()
        first.run("open", 100, second)
        first.start_commit()
        first.apply_commit(SENDS)
        first.run("pass", 0, second)
        second.start_commit()
        assert second.under_way == []
        assert second.assignment.waits_for_other_campaigns
        second.apply_commit(0)
        told: list[bool] = []
        second.limit.call_when_recorded(lambda: told.append(True))
        first.start_commit()
        assert not told
        first.apply_commit(0)
        assert told == [True]
        second.start_commit()
        assert len(second.under_way) == MAX_MARKED_PER_CONNECTION

    asyncio.run(scenario())


def assignment_with(*sessions: ConnectionSession) -> Assignment:
    mailer = ScriptedMailer(lambda: ScriptedConnection(lambda _: ACCEPTED))
    mailer.connections = [ScriptedConnection(lambda _: ACCEPTED) for _ in range(10)]
    assignment = Assignment(MarkLimit(mailer))
    assignment.sessions += sessions
    return assignment


def session() -> ConnectionSession:
    connection = ScriptedConnection(lambda _: ACCEPTED)
    return ConnectionSession(connection, ScriptedMailer(lambda: connection))


def test_without_a_session_nothing_is_marked() -> None:
    async def scenario() -> None:
        assignment = assignment_with()
        assignment.add(active_batch(waiting(1)))
        assert assignment.select_to_mark() == []

    asyncio.run(scenario())


def test_the_oldest_and_the_newest_batch_get_half_of_the_sends_each() -> None:
    """The newest may be one of due retries."""

    async def scenario() -> None:
        assignment = assignment_with()
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
        assignment = assignment_with()
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
        machine, other = two_campaigns()
        machine.run("open", 100, other)
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
    assignment = assignment_with()
    for batch in (new, old) if newest_is_first else (old, new):
        assignment.add(batch)
    assignment.sessions.append(session())
    assert assignment.select_to_mark() == [(new, send)]
    await asyncio.wait_for(old.finished(), 1)


def test_a_send_that_has_moved_to_another_batch_is_marked_for_the_newer_claim_only() -> None:
    """It was skipped in its first batch, and requested again. The first batch is still being sent."""

    async def scenario() -> None:
        assignment = assignment_with(session())
        moved, other = waiting(1), waiting(2)
        old = active_batch(moved, other, number=0)
        assignment.add(old)
        new = active_batch(moved, number=7)
        assignment.add(new)
        assert assignment.select_to_mark() == [(old, other), (new, moved)]

    asyncio.run(scenario())


def test_a_batch_ends_whose_last_waiting_send_has_moved_to_another_batch() -> None:
    async def scenario() -> None:
        assignment = assignment_with(session())
        old, new = active_batch(waiting(1), number=0), active_batch(waiting(1), number=7)
        assignment.add(old)
        ((_, send),) = assignment.select_to_mark()
        assignment.add(new)
        old.put_back(send)  # the rate limiter did not allow it
        assert assignment.select_to_mark() == [(new, send)]
        await asyncio.wait_for(old.finished(), 1)

    asyncio.run(scenario())
