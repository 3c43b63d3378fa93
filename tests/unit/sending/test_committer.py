"""The committer: retries while PostgreSQL is away, and what it does when the rate limiter cannot be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from marketing_service.backoff import ExponentialBackoff
from marketing_service.errors import Unavailable
from marketing_service.ledger.commit_results import SendResult
from marketing_service.ports import Allowance
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.sending.committer import Committer
from marketing_service.sending.stats import SendingStats
from marketing_service.store.states import SendStatus
from tests.support.engine import CAMPAIGN, NOW, claim, marked, waiting

if TYPE_CHECKING:
    from uuid import UUID

    from marketing_service.ports import RateLimiter

ROW = {
    "may_mark": True,
    "is_cancelled": False,
    "recorded_ids": [],
    "marked_ids": [],
    "marked_attempts": [],
    "marked_tries": [],
    "first_marked_at": [],
}

NOTHING_FOUND: dict[str, list[Any]] = {"ids": [], "statuses": [], "attempts": []}
"""What an earlier try has committed."""


class Ledger:
    """Answers calls; the first `failures` of them find PostgreSQL away."""

    def __init__(self, failures: int = 0, row: dict[str, Any] | None = None, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or Unavailable("PostgreSQL")
        self.row = ROW | (row or {})
        self.calls: list[tuple[object, ...]] = []

    async def call(self, statement: str, *arguments: object) -> Any:
        if "marketing_commit_results" not in statement:
            return NOTHING_FOUND
        self.calls.append((statement, *arguments))
        if len(self.calls) <= self.failures:
            raise self.error
        return self.row


class RefusingLedger:
    """Refuses each commit that has the send `send_id` with a result other than UNCONFIRMED, or marks it."""

    def __init__(self, error: Exception, send_id: UUID) -> None:
        self.error = error
        self.send_id = send_id
        self.recorded: dict[UUID, tuple[str, str | None]] = {}

    async def call(self, statement: str, *arguments: Any) -> Any:
        del statement  # there is only one
        ids, statuses, messages, wanted = arguments[1], arguments[5], arguments[9], arguments[11]
        refused = [one for one, status in zip(ids, statuses, strict=True) if status != "UNCONFIRMED"] + wanted
        if self.send_id in refused:
            raise self.error
        self.recorded |= dict(zip(ids, zip(statuses, messages, strict=True), strict=True))
        numbers = [1] * len(wanted)
        marks = {"marked_ids": wanted, "marked_attempts": numbers, "marked_tries": numbers}
        return ROW | {"recorded_ids": ids, **marks, "first_marked_at": [NOW] * len(wanted)}


def result(number: int) -> SendResult:
    return SendResult(claim(), waiting(number).id, 1, SendStatus.DELIVERED)


class Limiter:
    def __init__(self, allowance: Allowance | None) -> None:
        self.allowance = allowance
        self.asked: list[int] = []

    async def take(self, org_id: str, wanted: int) -> Allowance:
        assert org_id == "acme"
        self.asked.append(wanted)
        if self.allowance is None:
            raise Unavailable("Redis")
        return self.allowance


def committer(
    ledger: Ledger | RefusingLedger, rates: RateLimiter | None = None, stats: SendingStats | None = None
) -> Committer:
    def no_transactions(org_id: str | None = None) -> Any:
        raise AssertionError(f"a plain commit is one call, not a transaction of {org_id}")

    return Committer(
        no_transactions,
        ledger.call,
        CAMPAIGN,
        capacity=RelayCapacity(20, clock=lambda: 0.0),
        rates=rates,
        resend_ambiguous=False,
        stats=stats or SendingStats(),
        backoff=ExponentialBackoff(first=0.0, maximum=0.0),
    )


async def test_a_result_is_kept_and_committed_once_postgresql_is_back() -> None:
    ledger = Ledger(failures=7)
    await committer(ledger).commit([], [(claim(), waiting(1))])
    assert len(ledger.calls) == 8
    assert len({repr(call) for call in ledger.calls}) == 1, "the same commit each time"


@pytest.mark.parametrize(
    "error", [asyncpg.InsufficientPrivilegeError("denied"), asyncpg.UndefinedTableError("no such table")]
)
async def test_an_error_that_is_not_about_the_values_is_retried(error: Exception) -> None:
    ledger = Ledger(failures=3, error=error)
    await committer(ledger).commit([result(1)], ())
    assert len(ledger.calls) == 4


@pytest.mark.parametrize(
    "refused", [asyncpg.NumericValueOutOfRangeError("too large"), asyncpg.CheckViolationError("no")]
)
async def test_a_value_that_postgresql_refuses_makes_only_its_own_result_unconfirmed(refused: Exception) -> None:
    ledger = RefusingLedger(refused, result(3).send_id)
    stats = SendingStats()
    commit = await committer(ledger, stats=stats).commit([result(n) for n in range(5)], [(claim(), waiting(9))])
    assert commit.recorded == {result(n).send_id for n in range(5)}
    assert ledger.recorded.pop(result(3).send_id) == (
        SendStatus.UNCONFIRMED,
        f"The ledger refused the result DELIVERED: {type(refused).__name__}: {refused}",
    )
    assert set(ledger.recorded.values()) == {(SendStatus.DELIVERED, None)}
    assert commit.marked.keys() == {waiting(9).id}
    assert stats.refused_values == 1


async def test_a_send_that_postgresql_refuses_to_mark_is_not_submitted() -> None:
    ledger = RefusingLedger(asyncpg.DataError("bad"), waiting(8).id)
    commit = await committer(ledger).commit([result(1)], [(claim(), waiting(n)) for n in (7, 8, 9)])
    assert commit.recorded == {result(1).send_id}
    assert commit.marked.keys() == {waiting(7).id, waiting(9).id}


async def test_a_marked_send_comes_back_with_its_claim_and_its_attempt() -> None:
    send = waiting(1)
    first = marked(send).first_marked_at
    row = {"marked_ids": [send.id], "marked_attempts": [3], "marked_tries": [2], "first_marked_at": [first]}
    commit = await committer(Ledger(row=row)).commit([], [(claim(), send)])
    assert commit.marked == {send.id: marked(send, attempt=3, tries=2)}


async def test_without_a_rate_limiter_everything_is_allowed() -> None:
    allowance = await committer(Ledger()).allowance([(claim(), waiting(n)) for n in range(3)])
    assert allowance == Allowance(3)


async def test_exactly_what_is_to_be_marked_is_taken_from_the_rate_limiter() -> None:
    limiter = Limiter(Allowance(2, 0.5))
    allowance = await committer(Ledger(), limiter).allowance([(claim(), waiting(n)) for n in range(3)])
    assert (allowance, limiter.asked) == (Allowance(2, 0.5), [3])


async def test_while_the_rate_limiter_does_not_answer_nothing_is_allowed() -> None:
    allowance = await committer(Ledger(), Limiter(None)).allowance([(claim(), waiting(1))])
    assert allowance.granted == 0
    assert allowance.wait > 0
