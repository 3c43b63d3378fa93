"""The lifecycle of a campaign in random steps: in any order of events the ledger adds up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from marketing_service.db import Database
from marketing_service.ledger import commit_results, expansion, expired_leases, lifecycle, opt_outs, resend
from marketing_service.ledger.opens import Load, record_opens
from marketing_service.store import batches, expansions
from marketing_service.store.states import SendStatus
from tests.support import ledger
from tests.support.ledger import (
    ORG,
    assert_adds_up,
    audit_moves,
    campaign_row,
    contact,
    draft,
    illegal_moves,
    send_rows,
)
from tests.support.steps import let_leases_run_out, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from marketing_service.devstack.postgres import PostgresServer


OUTCOMES = [
    SendStatus.DELIVERED,
    SendStatus.DEFERRED,
    SendStatus.FAILED,
    SendStatus.UNCONFIRMED,
    SendStatus.QUEUED,
]


PEOPLE = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 5), st.sampled_from([True, True, True, False])), min_size=1, max_size=8
)


class CampaignLifecycle(RuleBasedStateMachine):
    """One campaign, two workers that may be frozen and go on later, a user, and recipients."""

    postgres: PostgresServer
    template: str

    def __init__(self) -> None:
        super().__init__()
        name = f"life_{uuid4().hex}"
        self.postgres.create_database(name, template=self.template)
        self.loop = asyncio.Runner()
        self.owner = Database(self.postgres.url(name), role=None, pool_size=2)
        self.claims: list[tuple[batches.Claim, list[batches.WaitingSend]]] = []
        self.marks: list[tuple[batches.Claim, commit_results.MarkedSend]] = []
        self.run(audit_moves(self.owner))
        self.campaign_id: UUID = self.run(draft(self.owner))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    def within(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def transaction() -> Any:
            async with self.owner.transaction() as tx:
                return await work(tx.connection)

        return self.run(transaction())

    def teardown(self) -> None:
        self.run(self.owner.close())
        self.loop.close()

    # ── the launch ──

    @initialize(people=PEOPLE)
    def launch(self, people: list[tuple[int, int, bool]]) -> None:
        """One launch of one list, attempted twice: the first attempt is overtaken."""

        async def work(connection: Any) -> None:
            assert await lifecycle.launch(connection, self.campaign_id, audience=None)
            assert not await lifecycle.launch(connection, self.campaign_id, audience=None)
            staged = [
                contact(number, email=f"a{address}@example.com", address=f"a{address}@example.com", deliverable=good)
                for number, address, good in people
            ]
            attempt = await expansions.claim_expansion(connection, self.campaign_id, lease=60)
            assert attempt
            assert await expansions.stage_contacts(connection, attempt, page=0, contacts=staged, lease=60)
            assert await expansion.merge(connection, attempt)

        self.within(work)

    # ── the person ──

    @rule(reason=st.sampled_from(lifecycle.PauseReason))
    def pause(self, reason: lifecycle.PauseReason) -> None:
        self.within(lambda c: lifecycle.pause(c, self.campaign_id, reason))

    @rule()
    def resume(self) -> None:
        self.within(lambda c: lifecycle.resume(c, self.campaign_id))

    @precondition(lambda self: len(self.marks) > 2)
    @rule()
    def cancel(self) -> None:
        self.within(lambda c: ledger.cancel(c, self.campaign_id))

    @rule(index=st.integers(0, 10))
    def resend(self, index: int) -> None:
        send = self._send(index)
        if send:
            self.within(
                lambda c: resend.requeue(c, campaign_id=self.campaign_id, send_id=send["id"], read_at=datetime.now(UTC))
            )

    # ── the workers ──

    @rule()
    def claim(self) -> None:
        async def work(connection: Any) -> None:
            found = await connection.execute(text("SELECT number FROM marketing_batches WHERE lease_until IS NULL"))
            for number in found.scalars().all():
                claimed = await batches.claim_batch(connection, self.campaign_id, number, lease=60)
                assert claimed
                self.claims.append(claimed)

        self.within(work)

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10), limit=st.integers(1, 3))
    def mark(self, index: int, limit: int) -> None:
        held, waiting = self.claims[index % len(self.claims)]
        step = self.within(lambda _: mark(self.owner, held, *waiting[:limit]))
        self.marks += [(held, marked) for marked in step.marked.values()]

    @precondition(lambda self: self.marks)
    @rule(index=st.integers(0, 10), status=st.sampled_from(OUTCOMES), again=st.booleans())
    def record(self, index: int, status: SendStatus, again: bool) -> None:
        """Record a result from a worker that was frozen, and record it twice."""
        held, marked = self.marks[index % len(self.marks)]
        result = commit_results.SendResult(held, marked.send.id, marked.attempt, status, reason="X", delay=0.0)
        self.within(lambda c: commit_results.record(c, self.campaign_id, results=[result], resend_ambiguous=again))

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10))
    def release(self, index: int) -> None:
        held, _ = self.claims[index % len(self.claims)]
        self.within(lambda c: batches.release_batch(c, held))

    @precondition(lambda self: self.claims)
    @rule(index=st.integers(0, 10))
    def go_on(self, index: int) -> None:
        """Record a result from a worker that was frozen; its batch was settled before."""
        held, _ = self.claims[index % len(self.claims)]
        following = self.within(lambda _: batches.next_batch(self.owner.call, held, lease=60))
        if following is not None:
            self.claims.append(following)

    @rule()
    def die(self) -> None:
        self.run(let_leases_run_out(self.owner))

    @rule()
    def sweep(self) -> None:
        self.within(lambda c: expired_leases.settle_expired(c, self.campaign_id))
        self.within(lambda c: batches.gather_due(c, self.campaign_id, limit=100))
        self.within(expansions.clean_staging)
        self.within(lambda c: lifecycle.resume_after_relay(c, self.campaign_id))

    # ── the recipients ──

    @rule(index=st.integers(0, 10), by_machine=st.booleans())
    def open(self, index: int, *, by_machine: bool) -> None:
        send = self._send(index)
        if send:
            reason = "A_MACHINE" if by_machine else None
            self.run(record_opens(self.owner.call, [Load(send["id"], reason)], soon_seconds=0, soon_reason="SOON"))

    @rule(index=st.integers(0, 10))
    def opt_out(self, index: int) -> None:
        send = self._send(index)
        if send:
            self.within(
                lambda c: opt_outs.record_opt_out(
                    c, org_id=ORG, campaign_id=self.campaign_id, send_id=send["id"], address=send["address"]
                )
            )

    def _send(self, index: int) -> dict[str, Any] | None:
        rows = self.run(send_rows(self.owner, self.campaign_id))
        return rows[index % len(rows)] if rows else None

    # ── what always holds ──

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """The counters equal a count over the rows; SENT exactly if no send is unsettled; every move is in MOVES."""
        counters = self.run(assert_adds_up(self.owner, self.campaign_id))
        row = self.run(campaign_row(self.owner, self.campaign_id))
        due = counters["queued"] + counters["sending"] + counters["deferred"]
        assert row["expanded_at"] is None or row["status"] == ("SENDING" if due else "SENT")
        assert self.run(illegal_moves(self.owner)) == set()

    @invariant()
    def nothing_due_is_forgotten(self) -> None:
        """Every waiting send is in a batch that the sweep can enqueue, or has a moment when it is due. Every marked
        send is in a leased batch."""

        async def batches_now(connection: Any) -> dict[int, datetime | None]:
            found = await connection.execute(text("SELECT number, lease_until FROM marketing_batches"))
            return {batch.number: batch.lease_until for batch in found}

        held = self.within(batches_now)
        for row in self.run(send_rows(self.owner, self.campaign_id)):
            if row["status"] in ("QUEUED", "DEFERRED"):
                assert row["batch"] in held or row["due_at"] is not None
            elif row["status"] == "SENDING":
                assert held.get(row["batch"]) is not None


def test_the_ledger_adds_up_in_any_order_of_events(postgres: PostgresServer, template: str) -> None:
    CampaignLifecycle.postgres, CampaignLifecycle.template = postgres, template
    run_state_machine_as_test(
        CampaignLifecycle,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
