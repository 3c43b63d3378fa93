"""A commit whose answer is lost, as when PostgreSQL fails over: the next try finds out what the first one has done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marketing_service.backoff import ExponentialBackoff
from marketing_service.errors import Unavailable
from marketing_service.ledger.commit_results import SendResult
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.sending.committer import Committer
from marketing_service.sending.stats import SendingStats
from marketing_service.store.states import SendStatus
from tests.support.ledger import assert_adds_up, launched, send_rows
from tests.support.steps import claim, mark

if TYPE_CHECKING:
    import asyncpg

    from marketing_service.db import Database


class LosesTheFirstAnswer:
    """Calls of a database, of which the first is committed and seems to have failed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost = False

    async def call(self, statement: str, *arguments: object) -> asyncpg.Record:
        row = await self._database.call(statement, *arguments)
        if not self._lost:
            self._lost = True
            raise Unavailable("PostgreSQL")
        return row


async def test_what_a_lost_commit_marked_is_submitted_and_what_it_recorded_is_not_refused(owner: Database) -> None:
    campaign_id = await launched(owner, 6)
    held, waiting = await claim(owner, campaign_id)
    marked = (await mark(owner, held, *waiting[:3])).marked
    statuses = (SendStatus.DELIVERED, SendStatus.FAILED, SendStatus.QUEUED)
    results = [
        SendResult(held, send.id, marked[send.id].attempt, status)
        for send, status in zip(waiting[:3], statuses, strict=True)
    ]
    stats = SendingStats()
    committer = Committer(
        owner.transaction,
        LosesTheFirstAnswer(owner).call,
        campaign_id,
        capacity=RelayCapacity(20, clock=lambda: 0.0),
        rates=None,
        resend_ambiguous=False,
        stats=stats,
        backoff=ExponentialBackoff(first=0.0, maximum=0.0),
    )
    commit = await committer.commit(results, [(held, send) for send in waiting[3:]])
    assert commit.recorded == {send.id for send in waiting[:3]}
    assert stats.refused_by_fence == 0
    assert {send_id: one.attempt for send_id, one in commit.marked.items()} == {send.id: 1 for send in waiting[3:]}
    rows = {row["id"]: (row["status"], row["attempts"]) for row in await send_rows(owner, campaign_id)}
    assert [rows[send.id] for send in waiting] == [("DELIVERED", 1), ("FAILED", 1), ("QUEUED", 0)] + 3 * [
        ("SENDING", 1)
    ]
    await assert_adds_up(owner, campaign_id)
