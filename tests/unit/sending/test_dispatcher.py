"""The dispatcher and its commit loop, with scripted connections and a ledger in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from marketing_service.ledger.lifecycle import PauseReason
from marketing_service.ports import Allowance, Envelope, RelayDown, Submission
from marketing_service.replies import Phase
from marketing_service.sending.dispatcher import Dispatcher
from marketing_service.sending.mark_limit import MAX_MARKED_PER_CONNECTION, MarkLimit
from marketing_service.sending.relay_feedback import RelayFeedback
from marketing_service.sending.render_pacing import RenderPacing
from marketing_service.sending.stats import SendingStats
from marketing_service.sending.throttle import DomainThrottle
from marketing_service.store.states import SendStatus
from tests.support.engine import (
    ACCEPTED,
    LOST,
    MemoryCommitter,
    ScriptedConnection,
    ScriptedMailer,
    active_batch,
    refused,
    waiting,
)

if TYPE_CHECKING:
    from marketing_service.ledger.commit_results import CommitResult


def accept(_: Envelope) -> Submission:
    return ACCEPTED


def dispatcher(
    mailer: ScriptedMailer, committer: MemoryCommitter, *, connections: int = 3, pacing: RenderPacing | None = None
) -> Dispatcher:
    return Dispatcher(
        connections,
        mailer=mailer,
        committer=committer,
        throttle=DomainThrottle(first_backoff=10.0),
        feedback=RelayFeedback(mailer.capacity),
        stats=SendingStats(),
        pacing=pacing or RenderPacing(),
        limit=MarkLimit(mailer),
    )


async def test_every_send_of_every_batch_is_submitted_once_and_recorded() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept)), MemoryCommitter()
    engine = dispatcher(mailer, committer)
    batches = [active_batch(*(waiting(100 * n + k) for k in range(25)), number=n) for n in range(3)]
    await asyncio.gather(*(engine.send(batch) for batch in batches))
    submitted = [recipient for connection in mailer.connections for recipient in connection.log]
    assert len(submitted) == len(set(submitted)) == 75
    assert set(committer.statuses().values()) == {SendStatus.DELIVERED}
    assert len(committer.results) == 75
    assert committer.max_in_flight <= MAX_MARKED_PER_CONNECTION * 3


async def test_a_lost_connection_is_replaced_and_its_send_goes_out_on_the_next_one() -> None:
    lost: set[str] = set()

    def lose_each_once(envelope: Envelope) -> Submission:
        if envelope.recipient in lost:
            return ACCEPTED
        lost.add(envelope.recipient)
        return LOST

    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(lose_each_once)), MemoryCommitter()
    await dispatcher(mailer, committer, connections=1).send(active_batch(*map(waiting, range(5))))
    assert set(committer.statuses().values()) == {SendStatus.DELIVERED}
    assert len(mailer.connections) > 1


async def test_a_used_up_connection_returns_what_it_has_not_started() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept, messages=1)), MemoryCommitter()
    await dispatcher(mailer, committer, connections=1).send(active_batch(*map(waiting, range(4))))
    assert list(committer.statuses().values()) == [SendStatus.DELIVERED] * 4
    assert [connection.log for connection in mailer.connections if connection.log] == [
        [f"person{number}@example.com"] for number in range(4)
    ] or len(mailer.connections) >= 4


async def test_a_relay_that_is_down_pauses_a_batch_that_had_no_connection() -> None:
    down = RelayDown(Phase.CONNECT, "connection refused")
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept), down=down), MemoryCommitter()
    batch = active_batch(waiting(1))
    await dispatcher(mailer, committer).send(batch)
    assert batch.pause_reason is PauseReason.RELAY_DOWN
    assert committer.tries == {}, "nothing was marked"


async def test_a_send_that_the_commit_does_not_mark_is_not_submitted() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept)), MemoryCommitter()
    committer.skip = {waiting(2).id}
    await dispatcher(mailer, committer).send(active_batch(waiting(1), waiting(2)))
    assert [recipient for connection in mailer.connections for recipient in connection.log] == ["person1@example.com"]


async def test_a_paused_campaign_ends_the_batch_without_a_submission() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept)), MemoryCommitter(may_mark=False)
    await dispatcher(mailer, committer).send(active_batch(*map(waiting, range(10))))
    assert committer.results == []


async def test_an_address_that_cannot_be_mailed_fails_alone() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept)), MemoryCommitter()
    await dispatcher(mailer, committer).send(active_batch(waiting(1, "malformed@example.com"), waiting(2)))
    assert committer.statuses() == {"1": SendStatus.FAILED, "2": SendStatus.DELIVERED}


async def test_the_second_send_is_announced_behind_the_first() -> None:
    mailer, committer = ScriptedMailer(lambda: ScriptedConnection(accept)), MemoryCommitter()
    await dispatcher(mailer, committer, connections=1).send(active_batch(*map(waiting, range(6))))
    (connection,) = (connection for connection in mailer.connections if connection.log)
    assert connection.log == [f"person{number}@example.com" for number in range(6)]
    assert connection.announced


async def test_a_long_wait_for_the_rate_limiter_releases_the_batch() -> None:
    committer = MemoryCommitter(allowances=deque([Allowance(1, 30.0)]))
    batch = active_batch(*map(waiting, range(5)))
    await dispatcher(ScriptedMailer(lambda: ScriptedConnection(accept)), committer).send(batch)
    assert batch.release_for == 30.0
    assert list(committer.statuses().values()) == [SendStatus.DELIVERED]


async def test_a_batch_that_comes_after_a_released_one_is_sent() -> None:
    committer = MemoryCommitter(allowances=deque([Allowance(1, 30.0)]))
    engine = dispatcher(ScriptedMailer(lambda: ScriptedConnection(accept)), committer)
    await engine.send(active_batch(*map(waiting, range(5))))
    assert engine.is_idle
    await engine.send(active_batch(*map(waiting, range(10, 15)), number=1))
    assert len(committer.results) == 6


async def test_a_commit_that_fails_for_good_fails_the_batch() -> None:
    committer = MemoryCommitter(fails=LookupError("broken"))
    with pytest.raises(LookupError, match="broken"):
        await dispatcher(ScriptedMailer(lambda: ScriptedConnection(accept)), committer).send(active_batch(waiting(1)))


async def test_a_deferral_is_recorded_and_the_send_leaves_the_batch() -> None:
    def defer(_: Envelope) -> Submission:
        return refused(451, "4.7.1 Greylisted")

    committer = MemoryCommitter()
    await dispatcher(ScriptedMailer(lambda: ScriptedConnection(defer)), committer).send(active_batch(waiting(1)))
    assert committer.statuses() == {"1": SendStatus.DEFERRED}


async def test_a_session_whose_connection_is_lost_while_it_waits_ends() -> None:
    """Otherwise its task counts as one that will open a connection, and nobody gives up the batch."""
    mailer = ScriptedMailer(lambda: ScriptedConnection(accept))

    class LosesConnections(MemoryCommitter):
        async def commit(self, results: Any, to_mark: Any) -> CommitResult:
            if self.commits == 1:  # the second session waits for this commit
                mailer.down = RelayDown(Phase.CONNECT, "connection refused")
                for connection in mailer.connections:
                    connection.messages = 0
            return await super().commit(results, to_mark)

    committer = LosesConnections()
    committer.skip = {waiting(2).id, waiting(3).id}  # so the first commit has sends for one session only
    batch = active_batch(*map(waiting, range(8)))
    async with asyncio.timeout(30):
        await dispatcher(mailer, committer, connections=2).send(batch)
    assert SendStatus.QUEUED in committer.statuses().values()
    assert (batch.waiting, batch.pause_reason) == (0, None)
