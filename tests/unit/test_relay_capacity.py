"""What a process learns of its relay's limits: fewer connections, a lower rate, and back again."""

from __future__ import annotations

import pytest

from marketing_service.relay_capacity import INCREASE_INTERVAL, RATE_IS_FREE_AFTER, RelayCapacity, Take
from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def capacity(clock: Clock) -> RelayCapacity:
    return RelayCapacity(20, clock=clock)


def refuse(capacity: RelayCapacity, clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.now += 1.5
        capacity.refused()


def test_without_a_refusal_nothing_is_limited(capacity: RelayCapacity) -> None:
    assert (capacity.connections, capacity.rate, capacity.is_reduced) == (20, None, False)
    assert capacity.take(50) == Take(50, 0.0)


def test_each_refusal_halves_the_connections_until_one_is_left(capacity: RelayCapacity, clock: Clock) -> None:
    found = []
    for _ in range(6):
        refuse(capacity, clock, 1)
        found.append(capacity.connections)
    assert found == [10, 5, 2, 1, 1, 1]


def test_refusals_of_messages_that_were_under_way_together_count_as_one(capacity: RelayCapacity, clock: Clock) -> None:
    started = clock.now
    clock.now += 0.5
    for _ in range(20):
        capacity.refused(started)
        clock.now += 0.5
    assert capacity.connections == 10
    capacity.refused(clock.now)
    capacity.refused(clock.now)
    assert capacity.connections == 5, "what arrives within a second is one event, too"


def test_a_message_that_was_under_way_before_the_refusal_does_not_end_the_wait(
    capacity: RelayCapacity, clock: Clock
) -> None:
    started = clock.now
    clock.now += 0.5
    capacity.refused(started)
    capacity.accepted(started)
    assert capacity.take(10).granted == 0
    clock.now += 1.0
    assert capacity.take(10).granted == 1, "a probe"
    capacity.accepted(clock.now)
    assert capacity.take(10).granted == 10


def sent_fast(capacity: RelayCapacity, clock: Clock) -> None:
    """Twenty messages a second are accepted, for five seconds."""
    for _ in range(100):
        clock.now += 0.05
        capacity.accepted()


def test_with_one_connection_left_each_refusal_halves_the_rate(capacity: RelayCapacity, clock: Clock) -> None:
    sent_fast(capacity, clock)
    refuse(capacity, clock, 4)
    assert (capacity.connections, capacity.rate) == (1, None)
    refuse(capacity, clock, 2)
    assert capacity.rate == pytest.approx(4, abs=1)


def test_after_a_refusal_one_message_goes_as_a_probe(capacity: RelayCapacity, clock: Clock) -> None:
    capacity.refused()
    assert capacity.take(40) == Take(0, 1.0)
    clock.now += 1.0
    assert capacity.take(40).granted == 1
    assert capacity.take(40).granted == 0, "the probe has no reply yet"
    capacity.accepted()
    assert capacity.take(40).granted == 40


def test_the_wait_doubles_while_nothing_is_accepted(capacity: RelayCapacity, clock: Clock) -> None:
    waits = []
    for _ in range(7):
        clock.now += 100
        capacity.refused()
        waits.append(capacity.take(1).wait)
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_the_rate_grows_with_each_accepted_message(capacity: RelayCapacity, clock: Clock) -> None:
    refuse(capacity, clock, 5)
    capacity.accepted()
    before = capacity.rate
    for _ in range(20):
        clock.now += 1
        capacity.accepted()
    assert before is not None
    assert capacity.rate is not None
    assert capacity.rate == pytest.approx(before + 2.0)


def test_after_two_minutes_without_a_refusal_the_rate_is_free(capacity: RelayCapacity, clock: Clock) -> None:
    refuse(capacity, clock, 5)
    clock.now += RATE_IS_FREE_AFTER + 1
    capacity.accepted()
    assert capacity.take(100) == Take(100, 0.0)
    assert capacity.rate is None


def test_a_refused_connection_shows_how_many_are_allowed(capacity: RelayCapacity, clock: Clock) -> None:
    capacity.connection_refused(5)
    assert capacity.connections == 5
    for _ in range(1000):
        clock.now += 0.02
        capacity.accepted()
    assert capacity.connections == 5, "no sixth one for half a minute"
    clock.now += 15
    capacity.accepted()
    assert capacity.connections == 6
    capacity.connection_refused(5)
    clock.now += 45
    capacity.accepted()
    assert capacity.connections == 5, "the next try waits for longer"


def test_the_connections_grow_back_to_the_configured_maximum(capacity: RelayCapacity, clock: Clock) -> None:
    refuse(capacity, clock, 4)
    for _ in range(5000):
        clock.now += 0.01
        capacity.accepted()
    assert capacity.connections == 20
    assert capacity.rate is None


def test_a_fast_relay_gets_one_more_connection_a_second(capacity: RelayCapacity, clock: Clock) -> None:
    """It accepts the messages for several more before it can show that it allows no more."""
    refuse(capacity, clock, 3)
    found = []
    for _ in range(3):
        clock.now += INCREASE_INTERVAL
        for _ in range(1000):
            capacity.accepted()
        found.append(capacity.connections)
    assert found == [3, 4, 5]


def test_how_long_nothing_was_accepted_is_known(capacity: RelayCapacity, clock: Clock) -> None:
    capacity.refused()
    clock.now += 42
    assert capacity.stalled_for == 42
