"""The committer: retries while PostgreSQL is away, and what it does when the rate limiter cannot be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marketing_service.backoff import ExponentialBackoff
from marketing_service.errors import Unavailable
from marketing_service.ports import Allowance
from marketing_service.relay_capacity import RelayCapacity
from marketing_service.sending.committer import Committer
from marketing_service.sending.stats import SendingStats
from tests.support.engine import CAMPAIGN, claim, marked, waiting

if TYPE_CHECKING:
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


class Ledger:
    """Answers calls; the first `failures` of them find PostgreSQL away."""

    def __init__(self, failures: int = 0, row: dict[str, Any] | None = None) -> None:
        self.failures = failures
        self.row = ROW | (row or {})
        self.calls: list[tuple[object, ...]] = []

    async def call(self, statement: str, *arguments: object) -> Any:
        self.calls.append((statement, *arguments))
        if len(self.calls) <= self.failures:
            raise Unavailable("PostgreSQL")
        return self.row


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


def committer(ledger: Ledger, rates: RateLimiter | None = None) -> Committer:
    def no_transactions(org_id: str | None = None) -> Any:
        raise AssertionError(f"a plain commit is one call, not a transaction of {org_id}")

    return Committer(
        no_transactions,
        ledger.call,
        CAMPAIGN,
        capacity=RelayCapacity(20, clock=lambda: 0.0),
        rates=rates,
        resend_ambiguous=False,
        stats=SendingStats(),
        backoff=ExponentialBackoff(first=0.0, maximum=0.0),
    )


async def test_a_result_is_kept_and_committed_once_postgresql_is_back() -> None:
    ledger = Ledger(failures=7)
    await committer(ledger).commit([], [(claim(), waiting(1))])
    assert len(ledger.calls) == 8
    assert len({repr(call) for call in ledger.calls}) == 1, "the same commit each time"


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
