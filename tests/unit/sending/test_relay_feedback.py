"""What the relay's refusals teach: the scope of each, in the context of its connection."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from marketing_service.ports import RelayDown
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.replies import Phase, Scope
from marketing_service.sending.relay_feedback import RelayFeedback
from tests.support.engine import ACCEPTED, LOST, ScriptedConnection, refused

PER_SESSION = refused(452, "4.4.5 Maximum number of messages per session exceeded.", Phase.DATA)


@pytest.fixture
def capacity() -> RelayCapacity:
    return RelayCapacity(20, clock=lambda: 1000.0)


def connection(*, accepted: int = 0) -> ScriptedConnection:
    return ScriptedConnection(lambda _: ACCEPTED, accepted=accepted)


def test_a_connection_that_has_done_its_share_is_retired_and_nothing_slows_down(capacity: RelayCapacity) -> None:
    feedback, used = RelayFeedback(capacity), connection(accepted=10)
    assert feedback.read(PER_SESSION, used) is Scope.CONNECTION
    assert not used.usable
    assert not capacity.is_reduced


def test_two_fresh_connections_refused_in_a_row_are_the_relays_refusal(capacity: RelayCapacity) -> None:
    feedback = RelayFeedback(capacity)
    assert feedback.read(PER_SESSION, connection()) is Scope.CONNECTION
    assert feedback.read(PER_SESSION, connection()) is Scope.RELAY
    assert capacity.is_reduced


def test_an_accepted_message_in_between_starts_the_count_again(capacity: RelayCapacity) -> None:
    feedback = RelayFeedback(capacity)
    for _ in range(5):
        assert feedback.read(PER_SESSION, connection()) is Scope.CONNECTION
        feedback.read(ACCEPTED, connection())


def test_unknown_replies_are_counted_by_phase_and_code(capacity: RelayCapacity) -> None:
    feedback = RelayFeedback(capacity)
    for _ in range(3):
        feedback.read(refused(459, "Xyzzy plugh", Phase.DOT), connection())
    assert feedback.unknown == {(Phase.DOT, 459): 3}


def test_a_lost_connection_says_nothing(capacity: RelayCapacity) -> None:
    assert RelayFeedback(capacity).read(LOST, connection()) is None


def test_a_limit_of_the_relay_is_logged_once_a_minute_with_the_relays_words(capacity: RelayCapacity) -> None:
    feedback = RelayFeedback(capacity)
    with capture_logs() as lines:
        for number in range(50):
            feedback.read(refused(450, f"4.7.1 Error: too much mail, {number}", Phase.MAIL), connection())
        feedback.read(refused(432, "4.3.2 Concurrent connections limit exceeded", Phase.DOT), connection())
        for _ in range(50):
            feedback.log_down(RelayDown(Phase.CONNECT, "refused"))
    assert [(line["event"], line.get("relay")) for line in lines] == [
        ("relay_limits_sending", "450 4.7.1 Error: too much mail, 0"),
        ("relay_limits_sending", "432 4.3.2 Concurrent connections limit exceeded"),
        ("relay_down", None),
    ]
