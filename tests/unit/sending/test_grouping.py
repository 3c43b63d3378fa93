"""How long results wait for others, before a commit records them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from marketing_service.sending.grouping import MAX_HOLD_SECONDS, Grouping
from marketing_service.sending.mark_limit import MAX_MARKED_PER_CONNECTION
from marketing_service.sending.render_pacing import RenderPacing
from simulation.loop import VirtualLoop
from tests.support.engine import ACCEPTED, MemoryCommitter, ScriptedConnection, ScriptedMailer, active_batch, waiting
from tests.unit.sending.test_dispatcher import dispatcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marketing_service.ledger.commit_results import CommitResult, SendResult
    from marketing_service.ports import Envelope, Submission
    from marketing_service.store.batches import Claim, WaitingSend


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def grouping(clock: Clock, *, submission: float, commit: float) -> Grouping:
    grouping = Grouping(clock)
    for _ in range(100):
        grouping.submission_took(submission)
        grouping.commit_took(commit)
    return grouping


@pytest.mark.parametrize(
    ("submission", "commit", "hold"),
    [
        (0.012, 0.002, 0.005),  # a relay that queues: the commit ends when three quarters of a submission are over
        (0.003, 0.002, 0.0),  # a near relay answers before two commits have ended
        (0.060, 0.002, MAX_HOLD_SECONDS),  # a distant relay: a result does not wait longer than the maximum
        (0.012, 0.500, 0.0),  # a slow database
    ],
)
def test_a_result_waits_for_what_a_submission_leaves_after_two_commits(
    submission: float, commit: float, hold: float
) -> None:
    assert grouping(Clock(), submission=submission, commit=commit).hold == pytest.approx(hold, abs=1e-4)


def test_the_wait_begins_with_the_oldest_result_of_the_group() -> None:
    clock = Clock()
    group = grouping(clock, submission=0.012, commit=0.002)
    assert group.remaining == 0.0, "there is nothing to record"
    group.result_added()
    clock.now = 0.004
    group.result_added()
    assert group.remaining == pytest.approx(0.001, abs=1e-4)
    clock.now = 0.006
    assert group.remaining == 0.0
    group.results_taken()
    group.result_added()
    assert group.remaining == pytest.approx(0.005, abs=1e-4)


class SlowCommitter(MemoryCommitter):
    """A commit takes two milliseconds. Counts the results of each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def commit(self, results: Sequence[SendResult], to_mark: Sequence[tuple[Claim, WaitingSend]]) -> CommitResult:
        await asyncio.sleep(0.002)
        self.sizes.append(len(results))
        return await super().commit(results, to_mark)


class BusyRelay:
    """Accepts one message after the other, each in `seconds`, whatever the number of connections."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.free = asyncio.Lock()

    def connection(self) -> ScriptedConnection:
        relay = self

        class Connection(ScriptedConnection):
            async def submit(self, envelope: Envelope) -> Submission:
                async with relay.free:
                    await asyncio.sleep(relay.seconds)
                return await super().submit(envelope)

        return Connection(lambda _: ACCEPTED)


def send(*, relay_seconds: float, connections: int, sends: int = 400) -> tuple[SlowCommitter, float]:
    """Send in virtual time. Returns the committer and the seconds that it took."""

    async def scenario() -> tuple[SlowCommitter, float]:
        relay, committer = BusyRelay(relay_seconds), SlowCommitter()
        mailer = ScriptedMailer(relay.connection)
        loop = asyncio.get_running_loop()
        engine = dispatcher(mailer, committer, connections=connections, pacing=RenderPacing(loop.time, loop.time))
        await asyncio.gather(
            *(
                engine.send(active_batch(*map(waiting, range(first, first + 100)), number=first))
                for first in range(0, sends, 100)
            )
        )
        assert len(committer.results) == sends
        assert committer.max_in_flight <= MAX_MARKED_PER_CONNECTION * connections
        return committer, loop.time()

    loop = VirtualLoop(random.Random(7), shuffle=0.0)
    try:
        return loop.run_until_complete(scenario())
    finally:
        loop.close()


def test_commits_carry_many_results_of_a_relay_that_is_the_bottleneck_and_it_never_waits() -> None:
    """Without the wait, a commit had three or four results."""
    committer, seconds = send(relay_seconds=0.0006, connections=20)
    assert 400 / len(committer.sizes) >= 7
    assert seconds == pytest.approx(400 * 0.0006, rel=0.03)


def test_a_relay_that_is_faster_than_the_database_is_not_slowed_down() -> None:
    committer, seconds = send(relay_seconds=0.00001, connections=20)
    assert 400 / len(committer.sizes) >= 15
    assert seconds < 0.06, "each commit begins when the one before it has ended"


def test_one_connection_does_not_wait_for_results_of_others() -> None:
    _, seconds = send(relay_seconds=0.005, connections=1)
    assert seconds == pytest.approx(400 * 0.005, rel=0.03)
